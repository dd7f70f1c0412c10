"""Clients in other languages: openapi-generator accepts the documents, and its output is code.

The Go client is compiled and sends real requests if `go` 1.23 or later is on the path; the models
of the Kotlin client are compiled if `kotlinc` is. Otherwise they are only parsed, like Swift.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import openapi_generator_cli
import pytest
import requests
import tree_sitter
import tree_sitter_kotlin
import tree_sitter_swift

from accounts import PASSWORD, TIMEOUT_SECONDS, URL, new_email

HERE = Path(__file__).parent.parent
JAR = Path(openapi_generator_cli.__file__).parent / "openapi-generator.jar"
# The generator prints this warning for every 3.1 document.
BETA = "OpenAPI 3.1 support is still in beta"
GO_MODULE = [
    "--package-name=quartet",
    "--git-host=example.org",
    "--git-user-id=quartet",
    "--git-repo-id=client",
]


def generate(language, document, into, *options):
    response = requests.get(f"{URL}/{document}", timeout=TIMEOUT_SECONDS)
    response.raise_for_status()
    spec = into.with_suffix(".json")
    spec.write_bytes(response.content)
    command = ["java", "-jar", JAR, "generate", "--generator-name", language]
    command += ["--input-spec", spec, "--output", into, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    warnings = [line for line in output.splitlines() if re.search(r"\b(WARN|ERROR)\b", line)]
    assert [line for line in warnings if BETA not in line] == []
    return into


def parse(grammar, files):
    """Every file must be syntactically valid."""
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
        pytest.skip(f"generated, not compiled: `{name}` was not found")
    return program


def go():
    program = compiler("go")
    version = re.search(r"go(\d+)\.(\d+)", run([program, "version"]))
    if (int(version[1]), int(version[2])) < (1, 23):
        pytest.skip("generated, not compiled: `go` is older than 1.23")
    return program


@pytest.mark.parametrize("document", ["openapi.json", "openapi-3.0.json"])
def test_go(document, url, tmp_path):
    client = generate("go", document, tmp_path / "go", *GO_MODULE)
    program = go()
    # The tests need an assertion library; the rest of the client needs no library.
    shutil.rmtree(client / "test")
    shutil.copytree(HERE / "go", client / "journey")
    environment = os.environ | {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOCACHE": str(tmp_path / "cache")}
    run([program, "vet", "./..."], cwd=client, env=environment)
    email = new_email()
    output = run([program, "run", "./journey", email, PASSWORD], cwd=client, env=environment)
    assert output.strip() == email


@pytest.mark.parametrize("document", ["openapi.json", "openapi-3.0.json"])
def test_swift(document, tmp_path):
    client = generate("swift6", document, tmp_path / "swift")
    # Other files do not depend on the document.
    files = [file for part in ("APIs", "Models") for file in client.rglob(f"{part}/*.swift")]
    parse(tree_sitter_swift, files)


@pytest.mark.parametrize("document", ["openapi.json", "openapi-3.0.json"])
def test_kotlin(document, tmp_path):
    client = generate("kotlin", document, tmp_path / "kotlin")
    parse(tree_sitter_kotlin, client.glob("src/main/**/*.kt"))


def test_kotlin_models_compile(tmp_path):
    program = compiler("kotlinc")
    # The JAR of the generator contains Jackson; the models need nothing else.
    options = ["--additional-properties=serializationLibrary=jackson", "--global-property=models"]
    client = generate("kotlin", "openapi-3.0.json", tmp_path / "kotlin", *options)
    models = sorted(client.glob("src/main/**/models/*.kt"))
    run([program, "-nowarn", "-cp", JAR, "-d", tmp_path / "models.jar", *models])
