"""`fgmf schema`, `fgmf --version`, and `fgmf` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest


@pytest.mark.parametrize("document", ["gatefile", "report"])
def test_schemas_are_json_schemas(shop: Any, document: str) -> None:
    schema = json.loads(shop.run("schema", document).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)


def test_version(shop: Any) -> None:
    result = shop.run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("fgmf 0.")


# --- as a process ---

COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from fgmf.cli import main; main()"
)


def process(*arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
    )


def test_ctrl_c_exits_with_130(shop: Any) -> None:
    slow = shop.source + (
        "\n\ndef slow():\n    import sys, time\n    print('waiting', flush=True)\n"
        "    time.sleep(60)\n"
    )
    shop.write_source(slow)
    shop.write(shop.head.replace("cli_shop:load", "cli_shop:slow"), shop.passing)
    with process("check", "--report", "json:r.json") as child:
        assert child.stdout is not None
        while "waiting" not in child.stdout.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "1 not measured" in output
    assert "Traceback" not in errors
    assert json.loads(Path("r.json").read_text())["verdicts"][0]["outcome"] == "error"


def test_no_control_characters_without_a_terminal(shop: Any) -> None:
    shop.write(shop.head, shop.failing, shop.passing)
    with process("check") as child:
        output, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert errors == ""
    assert all(character.isprintable() or character == "\n" for character in output)


def test_the_command_line_loads_without_torch() -> None:
    code = (
        "import sys, fgmf.cli.application; "
        "print(sorted({'torch', 'numpy', 'pydantic', 'foolbox'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
