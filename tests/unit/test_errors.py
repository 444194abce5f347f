import inspect
import pickle

import pytest

from raypipe import errors

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.RaypipeError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_pickling_with_its_values(cls):
    error = cls("what happened: do this", system="s3", expected=7)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == "what happened: do this"
    assert (copy.system, copy.expected) == ("s3", 7)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_stands_in_the_drawing_with_its_exit_code(cls):
    line = next(line for line in errors.__doc__.splitlines() if f" {cls.__name__} " in line)
    assert f"exit {cls.exit_code}" in line or "HTTP 400" in line


def test_an_absent_value_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="ConfigError carries no 'colour'"):
        _ = errors.ConfigError("x").colour
