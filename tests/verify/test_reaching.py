"""Sites that the shortest call of what holds them does not come by."""

from __future__ import annotations

from pathlib import Path

import pytest
from examined import as_found, examined

from bncodemod.verify.mentions import Mentions, has_users, is_script
from bncodemod.verify.model import Check, SiteKind, Verdict

META = frozenset({Check.META_VMAP})

NET = """
class Net(nn.Module):
    def __init__({parameters}):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        {body}

    def forward(self, x):
        return self.norm(self.conv(x))
"""
NORM = "self.norm = ⟪nn.BatchNorm2d(8, track_running_stats=False)⟫"


@pytest.mark.parametrize(
    ("parameters", "test", "call"),
    [
        ("self, normed=False", "normed", "normed=True"),
        ("self, plain=True", "not plain", "plain=False"),
        ("self, stride=1", "stride > 1", "stride=2"),
        ("self, stride=1", "stride != 1", "stride=2"),
        ("self, kind='none'", "kind == 'batch'", "kind='batch'"),
        ("self, kind='none'", "kind in ('batch', 'bn')", "kind='batch'"),
        ("self, kind='none', deep=False", "kind == 'batch' and deep", "kind='batch', deep=True"),
        ("self, kind='none', deep=False", "kind == 'batch' or deep", "kind='batch'"),
        ("self, width=None", "width is not None", "width=8"),
        ("self, strides=(1, 1)", "any(s > 1 for s in strides)", "strides=(2, 2)"),
    ],
)
def test_a_branch(tmp_path: Path, parameters: str, test: str, call: str) -> None:
    body = f"self.norm = nn.Identity()\n        if {test}:\n            {NORM}"
    said = examined(tmp_path, NET.format(parameters=parameters, body=body), checks=META)
    assert said.of("Net").call == f"Net({call})"
    assert said.of("Net").sites == said.job.sites


def test_every_branch(tmp_path: Path) -> None:
    body = f"""if kind == 'batch':
            {NORM}
        elif kind == 'group':
            self.norm = ⟪nn.GroupNorm(4, 8)⟫
        else:
            self.norm = nn.Identity()"""
    said = examined(tmp_path, NET.format(parameters="self, kind='none'", body=body), checks=META)
    assert [each.name for each in said.candidates] == ["Net", "Net(kind='group')"]
    assert {site for each in said.candidates for site in each.sites} == set(said.job.sites)
    again = examined(
        tmp_path,
        NET.format(parameters="self, kind='none'", body=body),
        checks=META,
        skip=frozenset({"Net for another branch"}),  # it killed a worker
    )
    assert [each.name for each in again.candidates] == ["Net"]


def test_a_branch_beside_a_norm_that_runs_nowhere(tmp_path: Path) -> None:
    """What is built in vain by the shortest call keeps no other line from being reached."""
    body = f"""if spare:
            self.spare = ⟪nn.BatchNorm2d(8, track_running_stats=False)⟫
        if kind == 'batch':
            {NORM}
        elif kind == 'group':
            self.norm = ⟪nn.GroupNorm(4, 8)⟫
        else:
            self.norm = nn.Identity()"""
    text = NET.format(parameters="self, kind='none', spare=True", body=body)
    said = examined(tmp_path, text, checks=META)
    unreached = set(said.job.sites).difference(*(each.sites for each in said.candidates))
    assert [site.line for site in unreached] == [min(site.line for site in said.job.sites)]


def test_a_branch_of_a_variable(tmp_path: Path) -> None:
    body = f"""self.normed = stride > 1
        self.norm = nn.Identity()
        if self.normed:
            {NORM}"""
    said = examined(tmp_path, NET.format(parameters="self, stride=1", body=body), checks=META)
    assert said.of("Net").call == "Net(stride=2)"


def test_a_branch_for_a_class(tmp_path: Path) -> None:
    text = """
class Frozen(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features

def thawed(module) -> nn.Module:
    if isinstance(module, nn.Linear):
        return nn.Identity()
    elif isinstance(module, (Frozen, nn.Conv1d)):
        return ⟪nn.BatchNorm2d(module.num_features, track_running_stats=False)⟫
    return module
"""
    said = examined(tmp_path, text, checks=META)
    assert said.of("thawed").call == "thawed(module=Frozen(num_features=64))"
    assert said.of("thawed").sites == said.job.sites


def test_a_default_in_a_branch(tmp_path: Path) -> None:
    parameters = "self, last=False, norm=⟨partial(nn.BatchNorm2d, track_running_stats=False)⟩"
    body = "self.norm = norm(8) if last else nn.Identity()"
    said = examined(tmp_path, NET.format(parameters=parameters, body=body), checks=META)
    assert said.of("Net").call == "Net(last=True)"
    assert said.of("Net").sites == said.job.sites


@pytest.mark.parametrize(
    ("default", "body"),
    [
        ("⟨partial(nn.BatchNorm2d, track_running_stats=False)⟩", "self.norm = norm(width)"),
        ("None", "norm = norm or ⟨partial(nn.BatchNorm2d, track_running_stats=False)⟩\n"
         "        self.norm = norm(width)"),
    ],
)  # fmt: skip
def test_a_default_in_whose_place_others_pass_something(
    tmp_path: Path, default: str, body: str
) -> None:
    text = f"""
class Block(nn.Module):
    def __init__(self, plan, norm={default}):
        super().__init__()
        width = plan["out"][0]
        {body}

    def forward(self, x):
        return self.norm(x)

class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block({{"out": [3]}}, ⟪partial(nn.BatchNorm2d, eps=0)⟫)

    def forward(self, x):
        return self.block(x)
"""
    said = examined(tmp_path, text, checks=META)
    assert {site.text for site in said.of("Block").sites} == {
        "partial(nn.BatchNorm2d, track_running_stats=False)"
    }


def test_arguments_of_another_class(tmp_path: Path) -> None:
    text = """
class Whole(nn.Module):
    def __init__(self, plan):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(i, o, 3) for i, o in plan["all"]))

    def forward(self, x):
        return self.layers(x)

class Features(nn.Module):
    def __init__(self, plan):
        super().__init__()
        i, o = plan["all"][0]
        self.layers = nn.Sequential(
            nn.Conv2d(i, o, 3), ⟪nn.BatchNorm2d(o, track_running_stats=False)⟫
        )

    def forward(self, x):
        return self.layers(x)

def whole_8():
    return Whole({"all": [(3, 8)]})
"""
    said = examined(tmp_path, text, checks=META)
    assert said.of("Features").sites == said.job.sites


@pytest.mark.parametrize("returned", ["make(Net, [8])", "(Net([8]), 8)"])
def test_what_is_returned(tmp_path: Path, returned: str) -> None:
    text = f"""
class Net(nn.Module):
    def __init__(self, plan):
        super().__init__()
        assert plan == [8]
        self.norm = ⟪nn.BatchNorm2d(plan[0], track_running_stats=False)⟫

    def forward(self, x):
        return self.norm(x)

def make(kind, *args):
    made = kind(*args)
    return made

def net_8():
    return {returned}
"""
    said = examined(tmp_path, text, checks=META)
    assert said.of("net_8").sites == said.job.sites


def test_a_partial_that_is_taken_apart(tmp_path: Path) -> None:
    text = """
class Norm(nn.BatchNorm2d):
    pass

class Net(nn.Module):
    def __init__(self, norm=⟨partial(nn.BatchNorm2d, track_running_stats=False)⟩):
        super().__init__()
        self.norm = {"BatchNorm2d": Norm}[norm.func.__name__](3, **norm.keywords)

    def forward(self, x):
        return self.norm(x)
"""
    said = examined(tmp_path, text, checks=META)
    assert said.of("Net").sites == said.job.sites


def test_a_class_that_is_looked_up_by_name(tmp_path: Path) -> None:
    text = """
class Norm(nn.GroupNorm):
    def __init__(self, channels):
        super().__init__(1, channels)

class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(1, 3)

NORMS = {"GroupNorm": Norm}

def find(norm):
    return NORMS[norm.__name__]

class Net(nn.Module):
    def __init__(self, norm=⟨nn.GroupNorm⟩):
        super().__init__()
        self.norm = find(norm)(3)

    def forward(self, x):
        return self.norm(x)

class OfPartial(nn.Module):
    def __init__(self, norm=⟨partial(nn.GroupNorm)⟩):
        super().__init__()
        self.norm = find(norm.func)(3)

    def forward(self, x):
        return self.norm(x)

class Unused(nn.Module):
    def __init__(self, norm=⟨nn.GroupNorm⟩):
        super().__init__()
        self.norm = Norm(3)

    def forward(self, x):
        return self.norm(x)
"""
    said = examined(tmp_path, text, checks=META)
    of_class, of_partial, unused = said.job.sites
    assert said.of("Net").sites == (of_class,)
    assert said.of("OfPartial").sites == (of_partial,)
    assert not any(unused in candidate.sites for candidate in said.candidates)


def test_batches_that_are_split(tmp_path: Path) -> None:
    text = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫

    def forward(self, x):
        assert len(x) % 2 == 0, "two halves"
        return torch.cat([self.norm(half) for half in x.chunk(2)])
"""
    checks = frozenset({Check.META_VMAP, Check.VMAP, Check.GRAD})
    said = examined(tmp_path, text, checks=checks)
    assert {check.outcome.value for check in said.of("Net").checks} == {"passed"}


def test_mentions(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("def a():\n    b()\ndef b():\n    return C\nclass C(D): pass\nx = E\n")
    assert Mentions(str(path)).all_of("a") == {"a", "b", "C", "D"}
    assert Mentions(str(path)).all_of("x") == {"x", "E"}


def test_users_of_names(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("class A: pass\nclass B: part = A\nc = m.B()\nclass D: pass\n")
    mentions = Mentions(str(path))
    assert mentions.users_of({"A"}, ["A", "B", "c", "D"]) == ["c", "B"]


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [("8, track_running_stats=False", Verdict.VERIFIED), ("8", Verdict.FAILED)],
    ids=["off", "on"],
)
@pytest.mark.parametrize("when", ["if self.norm is None: ", ""], ids=["once", "always"])
def test_a_norm_that_is_built_in_forward(
    tmp_path: Path, when: str, arguments: str, verdict: Verdict
) -> None:
    text = f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = None

    def forward(self, x):
        {when}self.norm = nn.BatchNorm2d({arguments})
        return self.norm(self.conv(x))
"""
    said = as_found(tmp_path, text)
    assert [found for _, found in said.verdicts(SiteKind.CALL)] == [verdict]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from a import Head\nclass Net:\n    part = Head()\n", True),
        ("from a import Head as Other\nclass Net:\n    part = Other()\n", True),
        ("import a\ndef net():\n    return a.Head()\n", True),
        ("from a import Head\ndef main():\n    net = Head()\n", False),
        ("from a import Head\nnet = Head()\n", False),
        ("class Head(: pass\n", False),
    ],
)
def test_files_that_have_users(text: str, expected: bool) -> None:
    assert has_users(text.encode(), "Head") is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from nets import Net\nclass Other(Net):\n    pass\n", False),
        ("import sys, nets\nsys.path.append('.')\nmodel = nets.Net()\n", False),
        ("__all__ = []\n__all__.extend(['a'])\nLOG = log()\nLOG.setLevel(3)\n", False),
        ("try:\n    from a import register\nexcept ImportError:\n    pass\nregister(1)\n", False),
        ("def main():\n    pass\nif __name__ == '__main__':\n    main()\n", False),
        ('"""Only words."""\n', False),
        ("x = (\n", False),
        ("def main():\n    pass\nmain()\n", True),
        ("import nets\nopen('published.txt', 'w').write(nets.__name__)\n", True),
        ("import nets\nfor epoch in range(3):\n    nets.train()\n", True),
        ("import torch\nwith torch.no_grad():\n    torch.ones(3)\n", True),
    ],
)
def test_files_that_are_scripts(text: str, expected: bool) -> None:
    assert is_script(text.encode()) is expected


def test_what_is_not_called_says_why(tmp_path: Path) -> None:
    text = """
class Trainer:
    def __init__(self):
        self.net = ⟪nn.BatchNorm2d(1)⟫

async def soon():
    return ⟪nn.BatchNorm2d(2)⟫

def fit():
    net = ⟪nn.BatchNorm2d(3)⟫
    print(net)

MODELS = {"a": lambda: ⟪nn.BatchNorm2d(4)⟫}

if __name__ == "__main__":
    net = ⟪nn.BatchNorm2d(5)⟫
"""
    said = examined(tmp_path, text, checks=META)
    reasons = {r.site.text: r.reason for r in said.judged(SiteKind.CALL)}
    assert "Trainer is no nn.Module" in reasons["nn.BatchNorm2d(1)"]
    assert "soon is a coroutine" in reasons["nn.BatchNorm2d(2)"]
    assert 'not called: an example can name it (name = "fit")' in reasons["nn.BatchNorm2d(3)"]
    assert "stands in a lambda" in reasons["nn.BatchNorm2d(4)"]
    assert "__main__" in reasons["nn.BatchNorm2d(5)"]
