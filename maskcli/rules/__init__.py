"""The rules of ``maskcli check``: one file per rule, found by walking this folder."""

from __future__ import annotations

import pkgutil

from maskcli.rules.rule import Rule, read_rule

HELPERS = frozenset({"base", "blame", "fixes", "identity", "rule", "selection"})
"""The modules of this folder that are not rules."""


def load_rules() -> tuple[Rule, ...]:
    """Return the rules of this folder, sorted by code.

    Raises:
        ValueError: if two rules have the same code.
    """
    # pkgutil asks the importer for the names, so the folder may be inside a zip file.
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name not in HELPERS]
    rules: dict[str, Rule] = {}
    for name in names:
        rule = read_rule(f"{__name__}.{name}")
        if rule.code in rules:
            raise ValueError(f"{rule.code} is the code of two rules: {rules[rule.code].name} and {rule.name}")
        rules[rule.code] = rule
    return tuple(rules[code] for code in sorted(rules))


RULES = load_rules()
