"""Clients in other languages: the generator takes the documents, and what it makes is code.

Go is compiled and makes real requests where a `go` of 1.23 or later is on the path, Kotlin's
models are compiled where a `kotlinc` is; else they are only parsed. Swift is only parsed.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import openapi_generator_cli
import pytest
import tree_sitter
import tree_sitter_kotlin
import tree_sitter_swift

from accounts import PASSWORD, new_email

HERE = Path(__file__).parent.parent
DOCUMENTS = HERE.parent.parent / "services/gateway"
JAR = Path(openapi_generator_cli.__file__).parent / "openapi-generator.jar"
# The generator says this of every 3.1 document.
BETA = "OpenAPI 3.1 support is still in beta"
GO_MODULE = [
    "--package-name=quartet",
    "--git-host=example.org",
    "--git-user-id=quartet",
    "--git-repo-id=client",
]


def generate(language, document, into, *options):
    command = ["java", "-jar", JAR, "generate", "--generator-name", language]
    command += ["--input-spec", DOCUMENTS / document, "--output", into, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    warnings = [line for line in said.splitlines() if re.search(r"\b(WARN|ERROR)\b", line)]
    assert [line for line in warnings if BETA not in line] == []
    return into


def parse(grammar, files):
    """Every file must be the language's syntax."""
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    files = list(files)
    assert len(files) > 20
    wrong = [file.name for file in files if parser.parse(file.read_bytes()).root_node.has_error]
    assert wrong == []


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compiler(name):
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"generated; not compiled, because no `{name}` is here")
    return program


def go():
    program = compiler("go")
    version = re.search(r"go(\d+)\.(\d+)", run([program, "version"]))
    if (int(version[1]), int(version[2])) < (1, 23):
        pytest.skip("generated; not compiled, because `go` is older than 1.23")
    return program


@pytest.mark.parametrize("document", ["openapi.json", "openapi-3.0.json"])
def test_go(document, url, tmp_path):
    client = generate("go", document, tmp_path / "go", *GO_MODULE)
    program = go()
    # They need a library of assertions; nothing else that was generated needs any.
    shutil.rmtree(client / "test")
    shutil.copytree(HERE / "go", client / "journey")
    environment = os.environ | {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOCACHE": str(tmp_path / "cache")}
    run([program, "vet", "./..."], cwd=client, env=environment)
    email = new_email()
    said = run([program, "run", "./journey", email, PASSWORD], cwd=client, env=environment)
    assert said.strip() == email


@pytest.mark.parametrize("document", ["openapi.json", "openapi-3.0.json"])
def test_swift(document, tmp_path):
    client = generate("swift6", document, tmp_path / "swift")
    # The rest does not depend on the document.
    made = [file for part in ("APIs", "Models") for file in client.rglob(f"{part}/*.swift")]
    parse(tree_sitter_swift, made)


@pytest.mark.parametrize("document", ["openapi.json", "openapi-3.0.json"])
def test_kotlin(document, tmp_path):
    client = generate("kotlin", document, tmp_path / "kotlin")
    parse(tree_sitter_kotlin, client.glob("src/main/**/*.kt"))


def test_kotlin_models_compile(tmp_path):
    program = compiler("kotlinc")
    # The generator's own program brings Jackson; the models need nothing else.
    options = ["--additional-properties=serializationLibrary=jackson", "--global-property=models"]
    client = generate("kotlin", "openapi-3.0.json", tmp_path / "kotlin", *options)
    models = sorted(client.glob("src/main/**/models/*.kt"))
    run([program, "-nowarn", "-cp", JAR, "-d", tmp_path / "models.jar", *models])
