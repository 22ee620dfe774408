"""Settings: files, overrides, and one clear line for every mistake."""

import re
from pathlib import Path

import pytest

from common.errors import UserError
from common.settings import FolderOrName, Settings, UserPath, load


class Inner(Settings):
    rank: int = 8


class Outer(Settings):
    name: str
    student: Inner = Inner()
    rate: float | None = None
    places: list[UserPath] = []
    by_name: dict[str, UserPath] = {}
    model: FolderOrName = "m"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("name: first\nstudent:\n  rank: 4\n")
    return path


def test_the_file_and_then_the_overrides(file: Path):
    assert load(Outer, file).student.rank == 4
    loaded = load(Outer, file, ["--student.rank", "16", "--name=second", "--rate=1e-4"])
    assert (loaded.student.rank, loaded.name) == (16, "second")


def test_an_override_may_begin_a_section_that_the_file_lacks(tmp_path: Path):
    path = tmp_path / "bare.yaml"
    path.write_text("name: bare")
    assert load(Outer, path, ["--student.rank", "2"]).student.rank == 2


def test_override_values_are_yaml(file: Path):
    changes = ["--rate", "null", "--by_name.a", "b", "--student", "{rank: 3}"]
    loaded = load(Outer, file, changes)
    assert (loaded.rate, loaded.by_name, loaded.student.rank) == (None, {"a": Path("b")}, 3)


def test_overrides_alone():
    assert load(Outer, None, ["--name", "x"]).name == "x"
    with pytest.raises(UserError, match="the command line: the key 'name' is required"):
        load(Outer, None)


def test_a_tilde_is_the_users_home_wherever_a_path_is_set(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = load(Outer, "~/run.yaml", ["--places", "['~/a', /b, c/~]", "--by_name.x", "~/d", "--model", "~/m"])
    assert loaded.places == [tmp_path / "a", Path("/b"), Path("c/~")]
    assert (loaded.by_name, loaded.model) == ({"x": tmp_path / "d"}, str(tmp_path / "m"))
    assert load(Outer, file, ["--model", "org/name"]).model == "org/name"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--student.rnak", "1"], "unknown key 'student.rnak'"),
        (["--student.rank", "many"], "student.rank: got 'many'"),
        (["--name.x", "1"], "'name' is a single value, it has no 'x' inside"),
        (["--rate"], "the override --rate has no value"),
        (["rate", "1"], "got the argument 'rate', expected an override"),
        (["--rate", "[1"], "the value of --rate is not valid YAML"),
    ],
)
def test_mistakes_in_overrides_are_named(file: Path, overrides: list[str], message: str):
    with pytest.raises(UserError) as error:
        load(Outer, file, overrides)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("student: {rank: 1}", "the key 'name' is required and missing"),
        ("nmae: x\nname: y", "unknown key 'nmae'"),
        ("- name", "holds list, expected a mapping"),
        ("name: [", "is not valid YAML"),
    ],
)
def test_mistakes_in_files_are_named_with_the_file(tmp_path: Path, text: str, message: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load(Outer, path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("given", ["none.yaml", "configs/none.yaml"])
def test_a_missing_file_is_named_with_the_folder_it_was_looked_for_in(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    where = f"can't read the settings file {given}: No such file or directory in {tmp_path}; give an absolute path"
    with pytest.raises(UserError, match=re.escape(where)):
        load(Outer, given)
    with pytest.raises(UserError, match=r"none\.yaml: No such file or directory$"):
        load(Outer, tmp_path / given)


def test_settings_are_frozen(file: Path):
    with pytest.raises(ValueError, match="frozen"):
        load(Outer, file).name = "other"  # type: ignore[misc]  # what a frozen model refuses is the point
