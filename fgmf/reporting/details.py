"""What follows the headline: everything a person needs to act on a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.corruptions import render_corruptions
from fgmf.reporting.evidence import (
    groups_of,
    integer_of,
    integers_of,
    number_of,
    records_of,
    text_of,
)
from fgmf.reporting.explanations import render_explanations
from fgmf.reporting.exports import render_export
from fgmf.reporting.headline import decisive_condition, describe_condition
from fgmf.reporting.mask_logs import render_mask_log
from fgmf.reporting.masking import render_masking
from fgmf.reporting.policies import render_returns
from fgmf.reporting.replays import describe_replay
from fgmf.reporting.teams import render_team
from fgmf.reporting.text import (
    first_line,
    printable,
    shown_count,
    shown_indices,
    shown_number,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fgmf.types import Json
    from fgmf.verdict import Finding, Verdict

_WORST_CLASSES = 3
_IMAGE_LISTS = (
    ("broken_images", "broken images"),
    ("misclassified_images", "misclassified without an attack"),
    ("unverified_images", "unverified (an example did not hold in a fresh pass)"),
    ("undecided_images", "undecided (time ran out)"),
    ("failed_images", "not measured (an attack or the model failed on them)"),
)


def render_details(verdict: Verdict) -> str:
    """Say what stands behind the headline.

    Args:
        verdict: Of any gate kind.

    Returns:
        Printable lines without the headline: reason, conditions, both halves of a replay,
        attacks, corruptions, explanations or masking, worst classes, findings with their fix,
        which images broke or could not be verified, where counterexamples were saved, cost, and
        the command that reproduces the verdict.
    """
    sections = (
        _reason(verdict),
        _conditions(verdict),
        describe_replay(verdict),
        _attacks(verdict),
        render_corruptions(verdict),
        render_explanations(verdict),
        render_masking(verdict),
        render_mask_log(verdict),
        render_export(verdict),
        render_returns(verdict),
        render_team(verdict),
        _classes(verdict),
        _findings(verdict),
        _images(verdict),
        _artifacts(verdict),
        _unexplained(verdict),
        _cost(verdict),
        _reproduce(verdict),
    )
    return "\n".join(line for section in sections for line in section)


def render_findings(findings: Sequence[Finding]) -> str:
    """Write findings, two lines each: what was found, and the fix.

    Args:
        findings: In the order in which they are to be shown.

    Returns:
        Printable lines, severities and names aligned; empty if there are no findings.
    """
    severities = [f"{f.severity} (waived)" if f.waived else f.severity for f in findings]
    names = [printable(finding.name) for finding in findings]
    widths = [max(map(len, column), default=0) for column in (severities, names)]
    indent = " " * (sum(widths) + 4)
    lines = []
    for finding, severity, name in zip(findings, severities, names, strict=True):
        message = printable(finding.message)
        lines.append(f"{severity:<{widths[0]}}  {name:<{widths[1]}}  {message}")
        lines.append(f"{indent}fix: {printable(finding.fix)}")
    return "\n".join(lines)


def _reason(verdict: Verdict) -> Iterable[str]:
    lines = [line for line in verdict.reason.splitlines() if line.strip()]
    in_headline = decisive_condition(verdict) is None
    if lines and not in_headline:
        yield f"reason: {first_line(lines[0])}"
    for line in lines[1:]:
        yield f"  {printable(line)}"


def _conditions(verdict: Verdict) -> Iterable[str]:
    if len(verdict.conditions) > 1:
        yield "conditions:"
        for condition in verdict.conditions:
            yield f"  {condition.outcome.upper():<12}  {describe_condition(condition)}"


def _attacks(verdict: Verdict) -> Iterable[str]:
    attacks = records_of(verdict.evidence, "attacks")
    if not attacks:
        return
    yield "attacks:"
    titles = [text_of(attack, "title") or text_of(attack, "name") for attack in attacks]
    width = max(len(title) for title in titles)
    for title, attack in zip(titles, attacks, strict=True):
        yield f"  {title:<{width}}  {_attack_numbers(attack)}"


def _attack_numbers(attack: Mapping[str, Json]) -> str:
    broken, attacked = integer_of(attack, "broken"), integer_of(attack, "attacked")
    parts = [f"broke {broken} of {attacked} attacked"]
    for key, words in (
        ("unverified", "unverified"),
        ("failed", "failed"),
        ("no_start", "without a starting point"),
    ):
        count = integer_of(attack, key)
        if count:
            parts.append(f"{count} {words}")
    settings = _settings(attack)
    return "; ".join(parts) + (f"  ({settings})" if settings else "")


def _settings(attack: Mapping[str, Json]) -> str:
    parameters = attack.get("parameters")
    values = dict(parameters) if isinstance(parameters, dict) else {}
    restarts = integer_of(attack, "restarts")
    if restarts is not None:
        values["restarts"] = restarts
    return ", ".join(f"{printable(name)}={printable(str(v))}" for name, v in values.items())


def _classes(verdict: Verdict) -> Iterable[str]:
    robust = {
        label: (share, numbers)
        for label, numbers in groups_of(verdict.evidence, "per_class").items()
        if (share := _worst_case(numbers)) is not None
    }
    if len(robust) < 2:
        return
    yield "worst classes:"
    ordered = sorted(robust.items(), key=lambda entry: entry[1][0])
    for label, (share, numbers) in ordered[:_WORST_CLASSES]:
        clean = number_of(numbers, "clean_accuracy")
        beside = "" if clean is None else f" (clean {shown_number(clean)}"
        images = integer_of(numbers, "images")
        if beside:
            beside += ")" if images is None else f", {shown_count(images, 'image')})"
        yield f"  {printable(label)}: robust {shown_number(share)}{beside}"


def _worst_case(numbers: Mapping[str, Json]) -> float | None:
    robust = number_of(numbers, "robust_accuracy")
    return number_of(numbers, "corruption_accuracy") if robust is None else robust


def _findings(verdict: Verdict) -> Iterable[str]:
    if verdict.findings:
        yield "findings:"
    for line in render_findings(verdict.findings).splitlines():
        yield f"  {line}"


def _images(verdict: Verdict) -> Iterable[str]:
    for key, words in _IMAGE_LISTS:
        indices = integers_of(verdict.evidence, key)
        if indices:
            yield f"{words}: {len(indices)}, at {shown_indices(indices)}"


def _unexplained(verdict: Verdict) -> Iterable[str]:
    why = text_of(verdict.evidence, "no_explanations")
    if why:
        yield f"broken images are not explained: {why}"


def _artifacts(verdict: Verdict) -> Iterable[str]:
    verified = text_of(verdict.evidence, "verified")
    if verdict.artifacts:
        files = _shown_files(verdict.artifacts)
        yield f"counterexamples: {files}" + (f" (re-verified {verified})" if verified else "")
    elif verified:
        why = text_of(verdict.evidence, "examples_not_saved")
        yield f"counterexamples: not saved{': ' if why else ''}{why} (re-verified {verified})"


def _shown_files(paths: Sequence[str]) -> str:
    """Write the directory once where all files lie in one."""
    directories = {path.rpartition("/")[0] for path in paths}
    directory = directories.pop()
    if len(paths) == 1 or directories or not directory:
        return ", ".join(printable(path) for path in paths)
    names = ", ".join(printable(path.rpartition("/")[2]) for path in paths)
    return f"{printable(directory)}: {names}"


def _cost(verdict: Verdict) -> Iterable[str]:
    cost = verdict.cost
    if cost.forward_passes or cost.backward_passes or cost.seconds:
        passes = f"{cost.forward_passes} forward and {cost.backward_passes} backward passes"
        cached = shown_count(cost.cached_images, "image")
        taken = f", {cached} taken from the cache" if cost.cached_images else ""
        yield f"cost: {passes}, {cost.seconds:.1f} s{taken}"


def _reproduce(verdict: Verdict) -> Iterable[str]:
    if verdict.reproduce:
        yield f"reproduce: {printable(verdict.reproduce)}"
