"""Train both models on scikit-learn's digits, in seconds: `python -m digit_reader.train`.

The standard model learns from clean images. The robust one learns from images that projected
gradient descent has moved, within a box of `EPSILON`, to where the model is worst at them:

    x' = x + uniform(-eps, eps)
    3 times: x' = clip(x' + step * sign(gradient of the loss at x'))   # in the box and in [0, 1]
    one step of Adam on the loss at x'
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from safetensors.torch import save
from torch.nn.functional import cross_entropy

from digit_reader.model import WEIGHTS, DigitReader
from fgmf.datasets import Samples, digits

EPSILON = 0.2
ATTACK_STEPS = 3
BATCH_SIZE = 64
EPOCHS = {"standard": 10, "robust": 20}


def train(name: str, samples: Samples, *, seed: int = 0, epochs: int | None = None) -> DigitReader:
    """Train one of the two models.

    Args:
        name: "standard" or "robust".
        samples: Images (n, 1, 8, 8) in [0, 1] with labels.
        seed: Fixes initial weights, order and attacks; the global generator is left alone.
        epochs: Passes over the images; None takes what the model needs.

    Returns:
        The model in evaluation mode.
    """
    epochs = epochs or EPOCHS[name]
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitReader()
    optimizer = torch.optim.Adam(model.parameters())
    steps = epochs * -(-len(samples) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for epoch in range(epochs):
        # The box grows over the first third: training starts as the easy task.
        epsilon = EPSILON * min(1.0, 3 * (epoch + 1) / epochs) if name == "robust" else 0.0
        for batch in torch.randperm(len(samples), generator=draws).split(BATCH_SIZE):
            images, labels = samples.images[batch], samples.labels[batch]
            if epsilon:
                images = attacked(model, images, labels, epsilon=epsilon, draws=draws)
            loss = cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        _progress(f"{name}: epoch {epoch + 1} of {epochs}, loss {loss.item():.3f}")
    return model.eval()


def attacked(
    model: DigitReader,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epsilon: float,
    draws: torch.Generator,
) -> torch.Tensor:
    """Move images to where the model is worst, within `epsilon` and [0, 1]."""
    lower, upper = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    noise = torch.rand(images.shape, generator=draws)
    moved = lower + noise * (upper - lower)
    for _ in range(ATTACK_STEPS):
        moved.requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(model(moved), labels), moved)
        step = 2.5 * epsilon / ATTACK_STEPS * gradient.sign()
        moved = (moved.detach() + step).clamp(lower, upper)
    return moved


def accuracy(model: DigitReader, samples: Samples) -> float:
    """Share of the images that the model reads right."""
    with torch.no_grad():
        right = model(samples.images).argmax(dim=1) == samples.labels
    return float(right.float().mean())


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def main() -> None:
    """Train the models that were asked for and write their weights."""
    parser = argparse.ArgumentParser(description="Train the digit readers.")
    parser.add_argument("names", nargs="*", default=sorted(EPOCHS), help="standard, robust")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = set(options.names) - set(EPOCHS)
    if unknown:
        parser.error(f"unknown model {', '.join(sorted(unknown))}; there are: {', '.join(EPOCHS)}")
    torch.set_num_threads(1)  # so small a network loses more than it gains by a second thread
    WEIGHTS.mkdir(exist_ok=True)
    for name in options.names:
        start = time.perf_counter()
        model = train(name, digits("train"), seed=options.seed)
        _progress("")
        path = WEIGHTS / f"{name}.safetensors"
        path.write_bytes(save(model.state_dict()))
        clean = accuracy(model, digits("test"))
        seconds = time.perf_counter() - start
        print(f"{name}: clean test accuracy {clean:.3f}, {seconds:.1f} s, {path.name}")


if __name__ == "__main__":
    main()
