"""AutoAttack, by packages that are not ours: what they find, and what it costs.

`python -m benchmarks.autoattack_peers` attacks every network of `fashion_models` with

    pyautoattack   the authors' code:  APGD-CE 100, APGD-T 9 x 100, FAB-T 9 x 100, Square 5000
    adv-lib        another implementation of APGD-CE 100 and APGD-T 9 x 100
    torchattacks   its attacks, with the steps of AutoAttack (its own AutoAttack takes 10 steps)
    ART            those attacks of its AutoAttack that keep to the ball: APGD-CE and APGD-DLR, 100
                   steps from 5 random starts each, Square 5000 (it has no targeted DLR)

and for random networks with the variant ``rand``: APGD-CE and APGD-DLR, each gradient the mean of
20. As in AutoAttack, each attack gets the images that the ones before left. Images come in chunks
whose results are kept beside the networks, so that an interrupted run goes on. A package that is
not installed is reported as missing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import importlib.util
import json
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.counting import JUDGE_DRAWS, Counted, judged_broken, predicted
from benchmarks.fashion_models import EPSILON, PLANS, Shelf, held_out
from benchmarks.pairing import machine_facts
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Attack = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    Attacks = Mapping[str, Attack]

THREAT = ThreatModel(norm="linf", epsilon=EPSILON, bounds=(0.0, 1.0))
CHUNK = 100
SEED = 5


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one attack did to the images that it was given.

    Attributes:
        attack: Its name.
        broken: Places of the images that it broke, as judged by us.
        forward_passes: Of all images together.
        backward_passes: Of all images together.
        seconds: CPU time.
    """

    attack: str
    broken: tuple[int, ...]
    forward_passes: int
    backward_passes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a package found on one network.

    Attributes:
        network: Its name.
        package: Its name.
        images: How many, from the first.
        wrong: Places of the images that are misclassified as they are.
        stages: One per attack, in order.
    """

    network: str
    package: str
    images: int
    wrong: tuple[int, ...]
    stages: tuple[Stage, ...]

    @property
    def broken(self) -> frozenset[int]:
        """Places of all images that do not count as robust."""
        return frozenset(self.wrong).union(*(stage.broken for stage in self.stages))

    @property
    def robust_accuracy(self) -> float:
        """Share of the images that nothing broke."""
        return 1.0 - len(self.broken) / self.images

    @property
    def passes_per_image(self) -> float:
        """Forward and backward passes over images."""
        both = sum(stage.forward_passes + stage.backward_passes for stage in self.stages)
        return both / self.images

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return {**vars(self), "stages": [dict(vars(stage)) for stage in self.stages]}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Account:
        """The account that :meth:`document` wrote."""
        stages = tuple(
            Stage(**{**stage, "broken": tuple(stage["broken"])}) for stage in document["stages"]
        )
        return cls(**{**document, "wrong": tuple(document["wrong"]), "stages": stages})


def joined(parts: list[Account]) -> Account:
    """Put accounts of consecutive chunks together."""
    names = [stage.attack for stage in parts[0].stages]
    stages = []
    for at, name in enumerate(names):
        same = [part.stages[at] for part in parts]
        stages.append(
            Stage(
                attack=name,
                broken=tuple(place for stage in same for place in stage.broken),
                forward_passes=sum(stage.forward_passes for stage in same),
                backward_passes=sum(stage.backward_passes for stage in same),
                seconds=sum(stage.seconds for stage in same),
            )
        )
    return Account(
        network=parts[0].network,
        package=parts[0].package,
        images=sum(part.images for part in parts),
        wrong=tuple(place for part in parts for place in part.wrong),
        stages=tuple(stages),
    )


def _pyautoattack(model: torch.nn.Module, *, random: bool) -> Attacks:
    package = importlib.import_module("pyautoattack")
    norm = {"linf": "Linf", "l2": "L2"}[THREAT.norm]
    suite = package.AutoAttack(
        model, norm=norm, eps=THREAT.epsilon, seed=SEED, version="rand" if random else "standard"
    )

    def attack(name: str) -> Attack:
        def run(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            if name.startswith("apgd-") and name != "apgd-t":
                suite.apgd.loss = name.removeprefix("apgd-")
            suite.fab.targeted = True
            method: Any = {
                "apgd-t": suite.apgd_targeted,
                "fab-t": suite.fab,
                "square": suite.square,
            }
            chosen = method.get(name, suite.apgd)
            chosen.seed = SEED
            changed: torch.Tensor = chosen.perturb(images, labels)
            return changed

        return run

    return {name: attack(name) for name in suite.attacks_to_run}


def _torchattacks(model: torch.nn.Module, *, random: bool) -> Attacks:
    package = importlib.import_module("torchattacks")
    common = {
        "eps": THREAT.epsilon,
        "norm": {"linf": "Linf", "l2": "L2"}[THREAT.norm],
        "seed": SEED,
    }
    if random:
        losses = ("ce", "dlr")
        return {
            f"apgd-{loss}": package.APGD(model, steps=100, loss=loss, eot_iter=20, **common)
            for loss in losses
        }
    return {
        "apgd-ce": package.APGD(model, steps=100, loss="ce", **common),
        "apgd-t": package.APGDT(model, steps=100, n_classes=10, **common),
        "fab-t": package.FAB(model, steps=100, multi_targeted=True, n_classes=10, **common),
        "square": package.Square(model, n_queries=5000, **common),
    }


def _adv_lib(model: torch.nn.Module, *, random: bool) -> Attacks:
    _open_without_init("adv_lib.attacks")
    package = importlib.import_module("adv_lib.attacks.auto_pgd")
    rules: dict[str, Any] = {
        "eps": THREAT.epsilon,
        "norm": {"linf": float("inf"), "l2": 2}[THREAT.norm],
    }

    def untargeted(loss: str) -> Attack:
        def run(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            torch.manual_seed(SEED)
            draws = 20 if random else 1
            changed: torch.Tensor = package.apgd(
                model, images, labels, loss_function=loss, eot_iter=draws, **rules
            )
            return changed

        return run

    def targeted(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(SEED)
        changed: torch.Tensor = package.apgd_targeted(model, images, labels, **rules)
        return changed

    if random:
        return {"apgd-ce": untargeted("ce"), "apgd-dlr": untargeted("dlr")}
    return {"apgd-ce": untargeted("ce"), "apgd-t": targeted}


def _art(model: torch.nn.Module, *, random: bool) -> Attacks:
    evasion = importlib.import_module("art.attacks.evasion")
    estimators = importlib.import_module("art.estimators.classification")
    if random:
        return {}  # it averages no gradients
    lower, upper = THREAT.bounds
    norm = {"linf": float("inf"), "l2": 2}[THREAT.norm]

    def attack(loss: str) -> Attack:
        def run(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            estimator = estimators.PyTorchClassifier(
                model,
                loss=torch.nn.CrossEntropyLoss(),
                input_shape=tuple(images.shape[1:]),
                nb_classes=model(images[:1]).shape[1],
                clip_values=(lower, upper),
                device_type="cpu",
            )
            common = {"norm": norm, "eps": THREAT.epsilon, "batch_size": CHUNK, "verbose": False}
            method = (
                evasion.SquareAttack(estimator, max_iter=5000, **common)
                if loss == "square"
                else evasion.AutoProjectedGradientDescent(estimator, loss_type=loss, **common)
            )
            torch.manual_seed(SEED)
            np.random.seed(SEED)  # noqa: NPY002 - the package draws from it
            return torch.from_numpy(method.generate(images.numpy(), labels.numpy()))

        return run

    losses = {"apgd-ce": "cross_entropy", "apgd-dlr": "difference_logits_ratio", "square": "square"}
    return {name: attack(loss) for name, loss in losses.items()}


def _open_without_init(name: str) -> None:
    """Make the modules of a package importable without what its ``__init__`` imports.

    adv-lib's loads a perceptual distance, and with it torchvision, which no attack here needs.
    """
    spec = importlib.util.find_spec(name.partition(".")[0])
    if name in sys.modules or spec is None or spec.submodule_search_locations is None:
        return
    folder = Path(spec.submodule_search_locations[0]).joinpath(*name.split(".")[1:])
    shell = importlib.machinery.ModuleSpec(name, None, is_package=True)
    shell.submodule_search_locations = [str(folder)]
    sys.modules[name] = importlib.util.module_from_spec(shell)


PACKAGES: dict[str, tuple[str, Callable[..., Attacks]]] = {
    "pyautoattack": ("pyautoattack", _pyautoattack),
    "torchattacks": ("torchattacks", _torchattacks),
    "adv-lib": ("adv-lib", _adv_lib),
    "ART": ("adversarial-robustness-toolbox", _art),
}


def installed(package: str) -> str | None:
    """Return the version of a package, None where it is missing."""
    try:
        return version(PACKAGES[package][0])
    except PackageNotFoundError:
        return None


def chunk_account(network: str, package: str, start: int, stop: int) -> Account:
    """Attack images `start` up to `stop`."""
    random = PLANS[network].random
    plain = Shelf.usual().load(network)
    model = Counted(plain)
    attacks = PACKAGES[package][1](model, random=random)
    samples = held_out(start, stop)
    images, labels = samples.images, samples.labels
    draws = JUDGE_DRAWS if random else 0
    wrong = predicted(plain, images, draws=draws) != labels
    left = ~wrong
    stages = []
    for name, attack in attacks.items():
        at = left.nonzero()[:, 0]
        model.taken()
        begun = time.process_time()
        changed = attack(images[at], labels[at]).detach() if len(at) else images[at]
        seconds = time.process_time() - begun
        forward, backward = model.taken()
        broken = at[judged_broken(plain, images[at], changed, labels[at], THREAT, draws=draws)]
        left[broken] = False
        stages.append(
            Stage(
                attack=name,
                broken=tuple((broken + start).tolist()),
                forward_passes=forward,
                backward_passes=backward,
                seconds=seconds,
            )
        )
    return Account(
        network=network,
        package=package,
        images=stop - start,
        wrong=tuple((wrong.nonzero()[:, 0] + start).tolist()),
        stages=tuple(stages),
    )


def account(network: str, package: str, images: int, *, only_kept: bool = False) -> Account | None:
    """Return what a package finds on the first `images` test images, a multiple of the chunk.

    Args:
        network: Its name.
        package: Its name; it must be installed unless `only_kept`.
        images: How many.
        only_kept: Take chunks of earlier runs alone; None if there is none.
    """
    parts = []
    for start in range(0, images, CHUNK):
        path = _kept(network, package, start)
        if not path.is_file():
            if only_kept:
                break
            found = chunk_account(network, package, start, start + CHUNK)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found.document()), encoding="utf-8")
        parts.append(Account.of(json.loads(path.read_text(encoding="utf-8"))))
    return joined(parts) if parts else None


def _kept(network: str, package: str, start: int) -> Path:
    rule = f"{THREAT.norm}-{THREAT.epsilon:g}"
    name = f"{network}-{PLANS[network].digest}-{package}-{rule}-{start}-{CHUNK}-{SEED}.json"
    return Shelf.usual().folder / "peers" / name


def describe(found: Account) -> str:
    """One line of the table."""
    stages = ", ".join(f"{stage.attack} {len(stage.broken)}" for stage in found.stages)
    seconds = sum(stage.seconds for stage in found.stages)
    return (
        f"{found.network:<11} {found.package:<13} n={found.images:<5} "
        f"clean {1 - len(found.wrong) / found.images:.3f}  robust {found.robust_accuracy:.3f}  "
        f"{found.passes_per_image:7.0f} passes  {seconds:6.0f} s   broken: {stages}"
    )


def main() -> None:
    """Print a line per network and package, and write them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--packages", nargs="+", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--images", type=int, default=1000, help=f"a multiple of {CHUNK}")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    accounts, missing = [], []
    for package in options.packages:
        if installed(package) is None:
            missing.append(package)
            print(f"{package}: MISSING, not installed: nothing is known about it", flush=True)
            continue
        for network in options.networks:
            found = account(network, package, options.images)
            if found is not None:
                accounts.append(found)
                print(describe(found), flush=True)
    if options.output is not None:
        document = {
            "threat": {"norm": THREAT.norm, "epsilon": THREAT.epsilon},
            "accounts": [
                {
                    **found.document(),
                    "robust_accuracy": found.robust_accuracy,
                    "passes_per_image": found.passes_per_image,
                }
                for found in accounts
            ],
            "missing": missing,
            "versions": {package: installed(package) for package in PACKAGES},
            "machine": machine_facts(),
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
