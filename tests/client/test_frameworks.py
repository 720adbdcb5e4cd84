"""Modules for frameworks: what they say without theirs, and that nothing else imports one."""

import json
import subprocess
import sys

import pytest

FRAMEWORKS = ("flax", "jax", "keras", "sklearn", "tensorflow", "torch", "transformers", "xgboost")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("framework", ["sklearn", "xgboost", "jax", "keras", "torch"])
def test_without_its_framework_a_module_says_what_to_install(framework: str) -> None:
    said = run(
        f"import sys\nsys.modules[{framework!r}] = None\n"
        f"try:\n    import federant.client.{framework}\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    assert f"federant.client.{framework} needs {framework}, which is not installed" in said
    assert f"pip install 'federant[{framework}]'" in said


def test_the_module_for_hugging_face_names_the_extra_that_has_all_it_needs() -> None:
    said = run(
        "import sys\nsys.modules['transformers'] = None\n"
        "try:\n    import federant.client.huggingface\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    assert "federant.client.huggingface needs " in said
    assert "pip install 'federant[huggingface]'" in said


@pytest.mark.parametrize(
    "module", ["federant.client", "federant.server.workflow", "federant.site", "federant.link"]
)
def test_no_framework_is_imported_unless_it_is_used(module: str) -> None:
    found = run(f"import json, sys, {module}\nprint(json.dumps(sorted(sys.modules)))")
    assert set(FRAMEWORKS).isdisjoint(json.loads(found))
