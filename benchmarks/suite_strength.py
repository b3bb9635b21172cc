"""AutoAttack's number for a few per cent of its passes: `quick` and `standard` beside the peers.

`python -m benchmarks.suite_strength` runs compositions of our own attacks on the networks of
`fashion_models`, and compares them with what every attack together broke: the packages of
`autoattack_peers` (from its kept results: run that first), our own attacks at AutoAttack's full
length, and the compositions themselves.

Compositions were chosen on test images 5000 to 6999; figures are those of the first 1000.
Passes are forwards and backwards, of every attack and of the last check of each broken image. A
random network is checked with 20 draws, and its figures are those of a judge with 100.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.autoattack_peers import (
    CHUNK,
    PACKAGES,
    THREAT,
    Account,
    Stage,
    account,
    describe,
    installed,
)
from benchmarks.autoattack_peers import joined as joined_accounts
from benchmarks.compositions import COMPOSITIONS
from benchmarks.counting import JUDGE_DRAWS, judged_broken, predicted
from benchmarks.fashion_models import PLANS, Shelf, held_out
from benchmarks.pairing import machine_facts
from fgmf.attacks import own
from fgmf.attacks.criteria import Criterion
from fgmf.attacks.own import AttackTask
from fgmf.attacks.own_bridge import averaging

if TYPE_CHECKING:
    from fgmf.attacks.own.task import LogitsFunction

ROBUST = 0.2
_CHECK_DRAWS = 20
"""Forward passes of the last check of an image of a random network; of others 1."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What was asked of a composition.

    Attributes:
        points: Most points above the best that any attack finds.
        share: Most passes over AutoAttack's, on networks at least 20 % robust.
        passes: Most passes per image elsewhere.
    """

    points: float
    share: float
    passes: float


BARS = {
    "quick": Bar(points=2.0, share=0.01, passes=8.0),
    "standard": Bar(points=0.5, share=0.05, passes=40.0),
}


def own_account(name: str, network: str, start: int, stop: int, *, seed: int = 0) -> Account:
    """Run a composition on images `start` up to `stop`."""
    random = PLANS[network].random
    attacks, draws = COMPOSITIONS[name].on(random=random)
    plain = Shelf.usual().load(network)
    samples = held_out(start, stop)
    images, labels = samples.images, samples.labels
    logits: LogitsFunction = plain
    if random:
        torch.manual_seed(seed)
        logits = averaging(plain, draws)
    check, final = (_CHECK_DRAWS, JUDGE_DRAWS) if random else (0, 0)
    wrong = predicted(plain, images, draws=final) != labels
    broken = wrong.clone()
    stages = [_clean_stage(images, draws=draws)]
    with torch.no_grad():
        known = torch.cat([logits(part) for part in images.split(250)])
    for attack_name, attack in attacks.items():
        at = (~broken).nonzero()[:, 0]
        task = AttackTask(
            images=images[at],
            criterion=Criterion(kind="misclassification", labels=labels[at]),
            threat=THREAT,
            keys=tuple(str(start + place) for place in at.tolist()),
            seed=seed,
            clean_logits=known[at],
        )
        begun = time.process_time()
        outcome = attack.run(logits, task)
        seconds = time.process_time() - begun
        claimed = claimed_broken(outcome, THREAT.epsilon)
        judge_again = partial(judged_broken, plain, threat=THREAT)
        changed, row = outcome.adversarial[claimed], at[claimed]
        seen = judge_again(images[row], changed, labels[row], draws=check)
        sure = judge_again(images[row], changed, labels[row], draws=final)
        broken[row[seen]] = True
        again = len(row) * max(1, check)
        stages.append(
            Stage(
                attack=attack_name,
                broken=tuple((row[seen & sure] + start).tolist()),
                forward_passes=int(outcome.forward_passes.sum()) + again,
                backward_passes=int(outcome.backward_passes.sum()),
                seconds=seconds,
            )
        )
    return Account(
        network=network,
        package=f"own-{name}",
        images=stop - start,
        wrong=tuple((wrong.nonzero()[:, 0] + start).tolist()),
        stages=tuple(stages),
    )


def claimed_broken(outcome: Any, epsilon: float) -> torch.Tensor:  # noqa: ANN401 - of two kinds
    """(n,) images that an attack says it broke: they are checked once more."""
    radii = getattr(outcome, "radii", None)
    return outcome.broken if radii is None else radii <= epsilon


def _clean_stage(images: torch.Tensor, *, draws: int) -> Stage:
    return Stage(
        attack="clean",
        broken=(),
        forward_passes=len(images) * draws,
        backward_passes=0,
        seconds=0.0,
    )


def measured(name: str, network: str, images: int) -> Account:
    """Run a composition on the first images, chunk by chunk.

    Chunks are kept for later runs, under a digest of the composition and of our attacks' code.

    Args:
        name: Of the composition.
        network: Its name.
        images: How many, a multiple of the chunk.
    """
    parts = []
    for start in range(0, images, CHUNK):
        path = _kept(name, network, start)
        if path.is_file():
            parts.append(Account.of(json.loads(path.read_text(encoding="utf-8"))))
            continue
        parts.append(own_account(name, network, start, start + CHUNK))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(parts[-1].document()), encoding="utf-8")
    return joined_accounts(parts)


def _kept(name: str, network: str, start: int) -> Path:
    attacks, draws = COMPOSITIONS[name].on(random=PLANS[network].random)
    words = f"{attacks} {draws} {THREAT.norm} {THREAT.epsilon:g}"
    sources = sorted(Path(own.__file__).parent.glob("*.py"))
    code = b"".join(path.read_bytes() for path in sources)
    digest = hashlib.sha256(words.encode() + code).hexdigest()[:10]
    file = f"own-{name}-{network}-{PLANS[network].digest}-{digest}-{start}-{CHUNK}.json"
    return Shelf.usual().folder / "own" / file


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One composition on one network, beside what was asked.

    Attributes:
        network: Its name.
        composition: Its name.
        images: How many.
        robust_accuracy: What the composition leaves.
        best: What all attacks together leave.
        passes: Per image.
        share: Of AutoAttack's passes on the same images; None where that is not known.
        hit_points: Near enough to the best; None where no independent package attacked all of
            these images: then the best is our own say.
        hit_passes: Cheap enough.
    """

    network: str
    composition: str
    images: int
    robust_accuracy: float
    best: float
    passes: float
    share: float | None
    hit_points: bool | None
    hit_passes: bool

    def describe(self) -> str:
        share = "share unknown" if self.share is None else f"{100 * self.share:5.2f} %"
        words = {False: "MISSED", True: "HIT", None: "UNKNOWN"}
        return (
            f"{self.network:<11} {self.composition:<9} n={self.images:<5} "
            f"robust {self.robust_accuracy:.3f}  best {self.best:.3f}  "
            f"+{100 * (self.robust_accuracy - self.best):.2f} points {words[self.hit_points]:<7}  "
            f"{self.passes:6.1f} passes  {share}  {words[self.hit_passes]}"
        )


def judge(
    name: str,
    mine: Account,
    best: float,
    reference_passes: float | None,
    *,
    independent_images: int,
) -> Judgement:
    """Hold a composition against its bar.

    Args:
        name: Of the composition.
        mine: What it found.
        best: Robust accuracy that all attacks together leave on the same images.
        reference_passes: AutoAttack's per image on this network; None where it was not run, and
            then nothing that is a share of it is a hit.
        independent_images: First images that at least one independent package attacked.
    """
    bar = BARS[name]
    near = 100 * (mine.robust_accuracy - best) <= bar.points + 1e-9
    share = None if reference_passes is None else mine.passes_per_image / reference_passes
    cheap = mine.passes_per_image <= bar.passes
    if best >= ROBUST:
        cheap = share is not None and share <= bar.share
    return Judgement(
        network=mine.network,
        composition=name,
        images=mine.images,
        robust_accuracy=mine.robust_accuracy,
        best=best,
        passes=mine.passes_per_image,
        share=share,
        hit_points=near if independent_images >= mine.images else None,
        hit_passes=cheap,
    )


def left_by_all(accounts: list[Account], images: int) -> float:
    """Robust accuracy against every attack together on the first `images` images."""
    broken = frozenset[int]().union(*(found.broken for found in accounts))
    return 1.0 - sum(place < images for place in broken) / images


def autoattack_passes(reference: Account, robust_share: float) -> float:
    """AutoAttack's passes per image at `robust_share`, from a run on fewer images.

    Nearly all of its passes go to images that it does not break, each of which costs the same:
    so passes grow with the share of those. A run on the same images has the same share.
    """
    if reference.robust_accuracy == 0:
        return reference.passes_per_image
    return reference.passes_per_image * robust_share / reference.robust_accuracy


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--images", type=int, default=1000, help=f"a multiple of {CHUNK}")
    parser.add_argument("--full-images", type=int, default=100, help="for our full-length attacks")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Judgement] = []
    everything: list[Account] = []
    for network in options.networks:
        found = _of_network(network, options.images, options.full_images)
        everything += found
        best = left_by_all(found, options.images)
        passes = _reference_passes(found, best)
        independent = max((each.images for each in found if each.package in PACKAGES), default=0)
        for each in found:
            print("  " + describe(each), flush=True)
        _print_agreement(found)
        for each in found:
            name = each.package.removeprefix("own-")
            if name in BARS:
                rows.append(judge(name, each, best, passes, independent_images=independent))
                print(rows[-1].describe(), flush=True)
    if options.output is not None:
        _write(options.output, rows, everything)


def _of_network(network: str, images: int, full_images: int) -> list[Account]:
    found = [account(network, package, images, only_kept=True) for package in PACKAGES]
    peers = [each for each in found if each is not None]
    ours = [measured(name, network, images) for name in BARS]
    if full_images:
        ours.append(measured("full", network, full_images))
    return [*peers, *ours]


def _reference_passes(found: list[Account], best: float) -> float | None:
    """Passes of the authors' AutoAttack; of another package's, if that ran all its attacks.

    On random networks adv-lib runs all of the variant ``rand``: APGD on two losses.
    """
    packages = ["pyautoattack", "torchattacks"]
    if any(PLANS[each.network].random for each in found):
        packages.append("adv-lib")
    for package in packages:
        for each in found:
            if each.package == package:
                return autoattack_passes(each, best)
    return None


def _print_agreement(found: list[Account]) -> None:
    """Say how far our full length is from each package, on the images that both attacked."""
    full = [each for each in found if each.package == "own-full"]
    for mine in full:
        for peer in (each for each in found if each.package in PACKAGES):
            images = min(mine.images, peer.images)
            theirs, ours = left_by_all([peer], images), left_by_all([mine], images)
            print(
                f"{mine.network:<11} own full {ours:.3f}, {peer.package} {theirs:.3f} "
                f"on {images} images: {100 * (ours - theirs):+.2f} points"
            )


def _write(output: Path, rows: list[Judgement], everything: list[Account]) -> None:
    document = {
        "threat": {"norm": THREAT.norm, "epsilon": THREAT.epsilon},
        "judgements": [dict(vars(row)) for row in rows],
        "accounts": [
            {**each.document(), "robust_accuracy": each.robust_accuracy} for each in everything
        ],
        "compositions": {name: repr(each) for name, each in COMPOSITIONS.items()},
        "versions": {package: installed(package) for package in PACKAGES},
        "machine": machine_facts(),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
