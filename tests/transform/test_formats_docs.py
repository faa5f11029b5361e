"""docs/target_formats.md: it leaves nothing out, and its examples are true."""

import json
import re
from pathlib import Path

import pytest

from gnj.transform.errors import RecordRejected
from gnj.transform.formats import Attribute, FieldType, compile_format

PAGE = (Path(__file__).parents[2] / "docs" / "target_formats.md").read_text()


def rows(title):
    table = PAGE.partition(f"\n{title}\n")[2].partition("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")
    ][1:]


def test_every_type_and_attribute_is_told():
    types = [re.findall(r"`(\w+)`", row[0])[0] for row in rows("## Types")]
    assert types == [each.value for each in FieldType]
    told = [name for row in rows("## Attributes") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(told) == sorted(each.value for each in Attribute)


def test_defaults_are_as_told():
    for name, default, *_ in rows("## Types"):
        format = compile_format({"X": {"type": name.strip("`")}})
        assert format.convert({}) == {"X": json.loads(default.strip("`"))}


def test_examples_of_attributes_are_true():
    tried, attribute, type = 0, "", ""
    for first, fits, _, example in rows("## Attributes"):
        attribute = first.strip("`") or attribute
        type = (re.findall(r"`(\w+)`", fits) or ["string"])[0] if fits else type
        given, *wanted = (json.loads(each) for each in re.findall(r"`([^`]*)`", example) or ["null"])
        if not example:
            continue
        format = compile_format({"X": {"type": type, "attributes": [attribute]}})
        if wanted:
            assert [format.convert({"X": given})["X"]] == wanted
        else:
            assert example.endswith("is rejected")
            with pytest.raises(RecordRejected):
                format.convert({"X": given})
        tried += 1
    assert tried >= len(Attribute) - 3


def test_the_example_is_a_format():
    definition = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
    format = compile_format(definition)
    assert format.primary == ("Sku",)
    assert set(
        re.findall(r"^\| `(\w+)` \|", PAGE.partition("| key of a field |")[2].partition("\n\n")[0], re.MULTILINE)
    ) == {key for each in (definition, definition["Variants"]["fields"]) for field in each.values() for key in field}
