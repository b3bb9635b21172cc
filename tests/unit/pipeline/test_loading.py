"""Recipe files: every problem at once, each at its key; what is sound becomes a plan."""

from __future__ import annotations

import pickle
import tomllib
from typing import TYPE_CHECKING

import jsonschema
import pytest
from unit.pipeline.recipe_files import RECIPE, written

from fgmf.errors import InvalidRecipeFile
from fgmf.pipeline import recipe_schema
from fgmf.pipeline.defence_tables import TaughtTable
from fgmf.pipeline.defences import DEFENCES
from fgmf.pipeline.loading import load_recipe_file

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = """
schema = 2
sede = 7

[data]
path = "there"
factory = "not a factory"
bounds = [1, 0]

[model]
backbone = "alexnet"
factory = "shop:model"

[defence]
name = "pgd"
epsilon = "8/0"
steps = 0

[schedule]
epochs = 0
rise = 1.0

[optimizer]
name = "adam"

[ramps.beta]
until = 2

[engine]
device = "tpu"
"""


def problems(path: Path) -> dict[str, str]:
    with pytest.raises(InvalidRecipeFile) as caught:
        load_recipe_file(path)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - ours
    return {p.location: f"{p.expected}, got {p.got}" for p in caught.value.problems}


class TestLoading:
    def test_a_sound_file(self, tmp_path: Path) -> None:
        plan = load_recipe_file(written(tmp_path))
        assert plan.output == tmp_path / "out"
        assert (plan.seed, plan.data.images, plan.defence.name) == (7, 120, "scor-pio-2")
        assert plan.defence.budget == pytest.approx(0.1)
        assert plan.sgam is plan.collapse is plan.validation is None
        jsonschema.validate(tomllib.loads(RECIPE), recipe_schema())

    def test_every_problem_at_once(self, tmp_path: Path) -> None:
        found = problems(written(tmp_path, BROKEN))
        assert set(found) == {
            "schema",
            "sede",
            "output",
            "data.path",
            "data.factory",
            "data.bounds",
            "model.backbone",
            "defence.epsilon",
            "defence.steps",
            "schedule.epochs",
            "schedule.rise",
            "optimizer.name",
            "ramps.beta.end",
            "ramps.beta.until",
            "engine.device",
        }
        assert "seed" in found["sede"]
        assert found["schedule.epochs"] == "a whole number >= 1, got 0"
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tomllib.loads(BROKEN), recipe_schema())

    @pytest.mark.parametrize(
        ("old", "new", "location"),
        [
            ('name = "scor-pio-2"', 'name = "magic"', "defence.name"),
            ('name = "scor-pio-2"', "", "defence.name"),
            ('[defence]\nname = "scor-pio-2"\nepsilon = "1/10"\nevery = 2', "", "defence"),
            ("every = 2", "evry = 2", "defence.evry"),
            ('epsilon = "1/10"', "epsilon = 0", "defence.epsilon"),
            ('epsilon = "1/10"', "", "defence.epsilon"),
            ("schema = 1", "schema = ", "line 2, column 10"),
            ("hidden = 8", "hidden = 2026-01-01", "model.arguments.hidden"),
            ("hidden = 8", "hidden = [8, { at = 12:30:00 }]", "model.arguments.hidden.1.at"),
            ("hidden = 8", "hidden = inf", "model.arguments.hidden"),
            (
                'backbone = "cnn"',
                'backbone = "spiking"\nnormalize.mean = 0.5',
                "model.normalize.std",
            ),
        ],
    )
    def test_single_mistakes(self, old: str, new: str, location: str, tmp_path: Path) -> None:
        assert list(problems(written(tmp_path, RECIPE.replace(old, new)))) == [location]

    @pytest.mark.parametrize(
        ("tables", "location"),
        [
            ("[ramps.gamma]\nend = 1.0", "ramps.gamma"),
            ("[ramps.epsilon]\nend = 1.0", "ramps.epsilon"),
            ("[ramps.every]\nend = 4", "ramps.every"),  # counts have nothing in between
            ("[ramps.salience_steps]\nend = 4", "ramps.salience_steps"),
            ('[teacher]\ndirectory = "runs/t"', "teacher"),
            ("[mask_log]\n[sgam]", "mask_log"),  # the penalty looks at a part of the batch
            ('[engine]\nmixed_precision = "float16"', "engine.mixed_precision"),
            ('[optimizer]\nbase = "sgd"', "optimizer.base"),
            (
                '[engine]\ncompiled = true\n[optimizer]\nname = "curvature-aware"',
                "optimizer.curvature_mode",
            ),
        ],
    )
    def test_tables_that_do_not_go_together(
        self, tables: str, location: str, tmp_path: Path
    ) -> None:
        assert list(problems(written(tmp_path, RECIPE, tables))) == [location]

    def test_moved_images_are_not_logged(self, tmp_path: Path) -> None:
        amo = RECIPE.replace('"scor-pio-2"', '"amo"').replace("every = 2\n", "")
        logged = written(tmp_path, amo, "[mask_log]\n[sgam]")
        assert load_recipe_file(logged).augmentation is None
        moved = written(tmp_path, amo, "[mask_log]\n[sgam]\n[augmentation]")
        assert list(problems(moved)) == ["mask_log"]

    def test_pixels_of_a_spiking_network_are_rates(self, tmp_path: Path) -> None:
        spiking = RECIPE.replace('"cnn"', '"spiking"\nnormalize = { mean = 0.5, std = 0.5 }')
        spiking = spiking.replace("images = 120", "images = 120\nbounds = [0, 255]")
        assert list(problems(written(tmp_path, spiking))) == ["data.bounds", "model.normalize"]
        load_recipe_file(written(tmp_path, spiking.replace('"spiking"', '"cnn"')))

    def test_what_needs_a_budget(self, tmp_path: Path) -> None:
        plain = RECIPE.replace(
            'name = "scor-pio-2"\nepsilon = "1/10"\nevery = 2', 'name = "standard"'
        )
        more = '[validation]\nfactory = "fgmf.datasets:digits"\n[collapse]\n'
        assert list(problems(written(tmp_path, plain, more))) == ["validation.epsilon", "collapse"]

    def test_no_budget_is_wider_than_the_pixels(self, tmp_path: Path) -> None:
        wide = written(tmp_path, RECIPE.replace('"1/10"', "1.5"))
        assert list(problems(wide)) == ["defence.epsilon"]
        pixels = RECIPE.replace('"1/10"', "1.5").replace("images = 120", "bounds = [0, 255]")
        assert load_recipe_file(written(tmp_path, pixels)).defence.budget == 1.5

    def test_what_needs_a_teacher(self, tmp_path: Path) -> None:
        table = 'name = "scor-pio-2"\nepsilon = "1/10"\nevery = 2'
        text = RECIPE.replace(table, 'name = "defensive-distillation"')
        assert list(problems(written(tmp_path, text))) == ["teacher"]

    def test_a_missing_file(self, tmp_path: Path) -> None:
        assert list(problems(tmp_path / "none.toml")) == ["(the whole file)"]


@pytest.mark.parametrize("name", DEFENCES)
def test_every_defence_has_its_name_and_builds_a_recipe(name: str) -> None:
    from fgmf.backbones import ConvNet
    from fgmf.training import Schedule, Teacher

    needed = {"epsilon": 0.25} if "epsilon" in DEFENCES[name].model_fields else {}
    table = DEFENCES[name].model_validate({"name": name, **needed})
    schedule, bounds = Schedule(epochs=3), (-1.0, 1.0)
    taught = isinstance(table, TaughtTable)
    teacher = Teacher(name="t", model=ConvNet()) if taught else None
    recipe = table.build(schedule, bounds, teacher)
    assert getattr(recipe, "teacher", None) is teacher
    assert recipe.schedule.epochs == 3
    assert recipe.bounds == (-1.0, 1.0)
    assert "0.25" in repr(recipe) or not needed
    assert min(recipe.passes) >= 1


@pytest.mark.parametrize(
    ("name", "scaled"), [("defensive-distillation", False), ("smoothing-distillation", True)]
)
def test_both_distillations_are_told_apart(name: str, scaled: bool) -> None:
    from fgmf.backbones import ConvNet
    from fgmf.training import Schedule, Teacher

    table = DEFENCES[name].model_validate({"name": name})
    recipe = table.build(Schedule(), (0.0, 1.0), Teacher(name="t", model=ConvNet()))
    assert getattr(recipe, "scaled", None) is scaled
