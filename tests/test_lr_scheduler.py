"""Schedules of the learning rate against their equations, and step by step against PyTorch."""

import inspect
import json
import math

import numpy as np
import pytest

from convkit import optim
from convkit.autograd import Tensor
from convkit.optim import lr_scheduler

STEPS = 25
LAMBDAS = [lambda steps: 0.9**steps, lambda steps: 1 / (1 + steps)]


def optimizer(kind="SGD", library=optim, parameter=None, **options):
    """Two groups with rates of their own."""
    parameter = parameter or (lambda: Tensor(np.ones(2, np.float32), requires_grad=True))
    groups = [{"params": [parameter()]}, {"params": [parameter()], "lr": 0.02}]
    return getattr(library, kind)(groups, lr=0.5, **options)


def sequence(library, opt):
    first = library.LinearLR(opt, start_factor=0.1, total_iters=4)
    second = library.CosineAnnealingLR(opt, T_max=6, eta_min=0.001)
    third = library.StepLR(opt, step_size=2, gamma=0.5)
    return library.SequentialLR(opt, [first, second, third], milestones=[4, 12])


def sequence_of_sequences(library, opt):
    first = library.ExponentialLR(opt, gamma=0.9)
    inner = [library.LinearLR(opt, total_iters=3), library.OneCycleLR(opt, max_lr=0.3, total_steps=30)]
    second = library.SequentialLR(opt, inner, milestones=[5])
    return library.SequentialLR(opt, [first, second], milestones=[6])


CASES = {
    "StepLR": lambda library, opt: library.StepLR(opt, 4, gamma=0.3),
    "StepLR, to 0": lambda library, opt: library.StepLR(opt, 4, gamma=0),
    "MultiStepLR": lambda library, opt: library.MultiStepLR(opt, [3, 7, 7, 20]),
    "ExponentialLR": lambda library, opt: library.ExponentialLR(opt, 0.8),
    "LinearLR": lambda library, opt: library.LinearLR(opt),
    "LinearLR, falling": lambda library, opt: library.LinearLR(opt, 0.7, 0.0, 6),
    "CosineAnnealingLR": lambda library, opt: library.CosineAnnealingLR(opt, 24),
    "CosineAnnealingLR, again and again": lambda library, opt: library.CosineAnnealingLR(opt, 5, eta_min=0.01),
    "LambdaLR": lambda library, opt: library.LambdaLR(opt, LAMBDAS),
    "LambdaLR, one": lambda library, opt: library.LambdaLR(opt, LAMBDAS[0]),
    "OneCycleLR": lambda library, opt: library.OneCycleLR(opt, max_lr=0.4, total_steps=STEPS),
    "OneCycleLR, groups": lambda library, opt: library.OneCycleLR(
        opt, [0.4, 0.9], epochs=5, steps_per_epoch=6, base_momentum=[0.7, 0.8], max_momentum=[0.9, 0.99]
    ),
    "OneCycleLR, linear, three phases": lambda library, opt: library.OneCycleLR(
        opt, 2.0, STEPS, pct_start=0.25, anneal_strategy="linear", three_phase=True, div_factor=10, final_div_factor=50
    ),
    "OneCycleLR, short": lambda library, opt: library.OneCycleLR(opt, 2.0, STEPS, pct_start=0.0),
    "OneCycleLR, rate alone": lambda library, opt: library.OneCycleLR(opt, 2.0, STEPS, cycle_momentum=False),
    "SequentialLR": sequence,
}


def rates_and_momentum(opt):
    return [(group["lr"], group.get("momentum", group.get("betas"))) for group in opt.param_groups]


def followed(opt, scheduler, steps=STEPS):
    """What is in the optimizer after each step."""
    course = [rates_and_momentum(opt)]
    for _ in range(steps):
        opt.step()
        scheduler.step()
        assert scheduler.get_last_lr() == [group["lr"] for group in opt.param_groups]
        course.append(rates_and_momentum(opt))
    return course


def flat(course):
    return [float(x) for step in course for lr, momentum in step for x in np.ravel([lr, *np.ravel(momentum)])]


def torch_optimizer(kind, **options):
    torch = pytest.importorskip("torch")
    return optimizer(kind, torch.optim, lambda: torch.nn.Parameter(torch.ones(2)), **options)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("case", CASES)
def test_every_step_is_that_of_pytorch(case, kind):
    torch = pytest.importorskip("torch")
    options = {"momentum": 0.9} if kind == "SGD" else {}
    theirs = torch_optimizer(kind, **options)
    expected = followed(theirs, CASES[case](torch.optim.lr_scheduler, theirs))
    ours = optimizer(kind, **options)
    found = followed(ours, CASES[case](lr_scheduler, ours))
    np.testing.assert_allclose(flat(found), flat(expected), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", lr_scheduler.__all__)
def test_arguments_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    theirs = inspect.signature(getattr(torch.optim.lr_scheduler, name)).parameters.values()
    ours = inspect.signature(getattr(lr_scheduler, name)).parameters.values()
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


def test_schedules_on_one_optimizer_multiply_as_in_pytorch():
    torch = pytest.importorskip("torch")
    courses = []
    for library, opt in ((lr_scheduler, optimizer()), (torch.optim.lr_scheduler, torch_optimizer("SGD"))):
        schedulers = [
            library.LinearLR(opt, 0.25, total_iters=4),
            library.ExponentialLR(opt, 0.9),
            library.CosineAnnealingLR(opt, 5, eta_min=0.003),
        ]
        course = []
        for step in range(STEPS):
            opt.step()
            for scheduler in schedulers:
                scheduler.step()
            if step == 7:
                opt.param_groups[0]["lr"] *= 3  # by hand, and it stays
            course.append(rates_and_momentum(opt))
        courses.append(flat(course))
    np.testing.assert_allclose(*courses, rtol=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"factor": 0.5, "patience": 0, "cooldown": 2},
        {"mode": "max", "patience": 1, "threshold": 0.1},
        {"mode": "max", "patience": 1, "threshold": 0.1, "threshold_mode": "abs"},
        {"threshold_mode": "abs", "threshold": 0.2, "patience": 1, "min_lr": [0.01, 0.005]},
        {"patience": 0, "eps": 0.1, "factor": 0.7},
    ],
)
def test_reduce_on_plateau_is_that_of_pytorch(options):
    torch = pytest.importorskip("torch")
    measures = np.random.default_rng(0).standard_normal(STEPS)
    theirs, ours = torch_optimizer("SGD"), optimizer()
    their = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    our = lr_scheduler.ReduceLROnPlateau(ours, **options)
    reductions = 0
    for measure in measures:
        before = our.get_last_lr()
        our.step(Tensor(np.float64(measure)))
        their.step(measure)
        assert our.get_last_lr() == their.get_last_lr()
        assert (our.best, our.num_bad_epochs, our.in_cooldown) == (their.best, their.num_bad_epochs, their.in_cooldown)
        reductions += our.get_last_lr() != before
    assert reductions


PLAIN = {
    "StepLR": lambda base, t: base * 0.3 ** (t // 4),
    "MultiStepLR": lambda base, t: base * 0.1 ** sum(t >= milestone for milestone in (3, 7, 7, 20)),
    "ExponentialLR": lambda base, t: base * 0.8**t,
    "LinearLR": lambda base, t: base * (1 / 3 + 2 / 3 * min(t, 5) / 5),
    "CosineAnnealingLR": lambda base, t: base * (1 + math.cos(math.pi * t / 24)) / 2,
    "CosineAnnealingLR, again and again": lambda base, t: 0.01 + (base - 0.01) * (1 + math.cos(math.pi * t / 5)) / 2,
    "LambdaLR, one": lambda base, t: base * 0.9**t,
}


@pytest.mark.parametrize("case", PLAIN)
def test_steps_follow_the_equations(case):
    opt = optimizer()
    course = followed(opt, CASES[case](lr_scheduler, opt))
    expected = [[PLAIN[case](base, t) for base in (0.5, 0.02)] for t in range(STEPS + 1)]
    np.testing.assert_allclose([[lr for lr, _ in step] for step in course], expected, rtol=1e-10, atol=1e-16)


def test_one_cycle_rises_and_falls():
    opt = optimizer(momentum=0.9)
    course = followed(opt, lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=21, pct_start=11 / 21), 20)
    (first, high), (top, low), (last, end) = (course[t][0] for t in (0, 10, 20))
    np.testing.assert_allclose([first, top, last], [0.04, 1, 0.04 / 1e4], rtol=1e-12)
    np.testing.assert_allclose([high, low, end], [0.95, 0.85, 0.95], rtol=1e-12)
    np.testing.assert_allclose(course[5][0][0], 0.52, rtol=1e-12)  # half way up the cosine


def test_one_cycle_with_a_rise_of_one_step():
    opt = optimizer(momentum=0.9)
    assert lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=10, pct_start=0.1).get_last_lr() == [1.0, 1.0]


def test_a_sequence_in_a_sequence():
    opt = optimizer()
    course = [step[0][0] for step in followed(opt, sequence_of_sequences(lr_scheduler, opt), 16)]
    first = opt.param_groups[0]["initial_lr"]
    assert first == 0.3 / 25
    np.testing.assert_allclose(course[:6], [0.3 / 25 * 0.9**t for t in range(6)], rtol=1e-12)
    other = optimizer()
    alone = lr_scheduler.OneCycleLR(other, max_lr=0.3, total_steps=30)
    np.testing.assert_allclose(course[11:], [step[0][0] for step in followed(other, alone, 5)], rtol=1e-12)


# ----------------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("case", [*CASES, "a sequence in a sequence"])
def test_going_on_from_a_saved_state_gives_the_same_bits(case):
    make = CASES.get(case, sequence_of_sequences)
    opt = optimizer("Adam")
    scheduler = make(lr_scheduler, opt)
    course = followed(opt, scheduler, 9)
    kept = json.loads(json.dumps([opt.state_dict(), scheduler.state_dict()]))
    course += followed(opt, scheduler, 14)[1:]

    again = optimizer("Adam")
    other = make(lr_scheduler, again)
    again.load_state_dict(kept[0])
    other.load_state_dict(kept[1])
    assert other.get_last_lr() == [group["lr"] for group in again.param_groups]
    assert course[9:] == followed(again, other, 14)
    assert other.state_dict() == scheduler.state_dict()


def test_plateau_goes_on_from_a_saved_state():
    opt = optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(opt, patience=3)
    for _ in range(3):
        scheduler.step(1.0)
    again = optimizer()
    other = lr_scheduler.ReduceLROnPlateau(again, patience=0)
    other.load_state_dict(json.loads(json.dumps(scheduler.state_dict())))
    other.step(1.0)
    assert again.param_groups[0]["lr"] == 0.5
    other.step(1.0)
    assert again.param_groups[0]["lr"] == 0.05
    assert scheduler.last_epoch == 3


def test_going_on_by_last_epoch():
    opt = optimizer()
    course = followed(opt, lr_scheduler.CosineAnnealingLR(opt, 20), 12)
    again = optimizer()
    again.load_state_dict(opt.state_dict())
    scheduler = lr_scheduler.CosineAnnealingLR(again, 20, last_epoch=11)
    assert rates_and_momentum(again) == course[-1]
    assert followed(again, scheduler, 3) == followed(opt, scheduler_at(opt, 12), 3)


def scheduler_at(opt, steps):
    scheduler = lr_scheduler.CosineAnnealingLR(opt, 20, last_epoch=steps - 1)
    assert scheduler.last_epoch == steps
    return scheduler


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("last_epoch"),
        lambda state: state.update(colour="red"),
        lambda state: state.update(base_lrs=[1.0]),
        lambda state: state.update(base_lrs=1.0),
        lambda state: state["_schedulers"].pop(),
        lambda state: state["_schedulers"][2].pop("gamma"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change):
    opt = optimizer()
    name = "_schedulers" if "_schedulers" in change.__code__.co_consts else "StepLR"
    make = sequence if name == "_schedulers" else CASES["StepLR"]
    scheduler = make(lr_scheduler, opt)
    followed(opt, scheduler, 5)
    wrong = make(lr_scheduler, optimizer()).state_dict()
    change(wrong)
    before = scheduler.state_dict()
    with pytest.raises(ValueError, match="LR: state_dict "):
        scheduler.load_state_dict(wrong)
    assert scheduler.state_dict() == before


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda opt: lr_scheduler.StepLR(3, 1), TypeError, "StepLR: optimizer must be an Optimizer, not int"),
        (lambda opt: lr_scheduler.StepLR(opt, 0), ValueError, "StepLR: step_size=0 must be at least 1"),
        (lambda opt: lr_scheduler.StepLR(opt, 1.5), TypeError, "StepLR: step_size=1.5 must be an integer"),
        (lambda opt: lr_scheduler.StepLR(opt, 1, last_epoch=3), ValueError, "last_epoch=3 goes on .* group 0"),
        (lambda opt: lr_scheduler.MultiStepLR(opt, [3, 2]), ValueError, r"milestones=\[3, 2\] must not fall"),
        (lambda opt: lr_scheduler.MultiStepLR(opt, [0.5]), TypeError, "must be a list of integers"),
        (lambda opt: lr_scheduler.MultiStepLR(opt, 3), TypeError, "must be a list of integers"),
        (lambda opt: lr_scheduler.LinearLR(opt, 0), ValueError, "start_factor=0 must be above 0"),
        (lambda opt: lr_scheduler.LinearLR(opt, end_factor=2), ValueError, "end_factor=2 must be from 0 to 1"),
        (lambda opt: lr_scheduler.LinearLR(opt, total_iters=0), ValueError, "total_iters=0"),
        (lambda opt: lr_scheduler.CosineAnnealingLR(opt, 0), ValueError, "T_max=0 must be at least 1"),
        (lambda opt: lr_scheduler.LambdaLR(opt, [abs]), ValueError, "lr_lambda must have one value for each of 2"),
        (lambda opt: lr_scheduler.LambdaLR(opt, 0.5), TypeError, "lr_lambda must be a function, not float"),
        (lambda opt: lr_scheduler.OneCycleLR(opt, 1), ValueError, "needs total_steps, or both epochs and steps_per"),
        (lambda opt: lr_scheduler.OneCycleLR(opt, 1, 0), ValueError, "total_steps=0 must be at least 1"),
        (lambda opt: lr_scheduler.OneCycleLR(opt, [1, 2, 3], 9), ValueError, "max_lr must have one value for each of"),
        (lambda opt: lr_scheduler.OneCycleLR(opt, 1, 9, pct_start=2), ValueError, "pct_start=2 must be from 0 to 1"),
        (lambda opt: lr_scheduler.OneCycleLR(opt, 1, 9, anneal_strategy="fast"), ValueError, "must be 'cos' or 'line"),
        (lambda opt: lr_scheduler.ReduceLROnPlateau(opt, "less"), ValueError, "mode='less' must be 'min' or 'max'"),
        (lambda opt: lr_scheduler.ReduceLROnPlateau(opt, factor=1), ValueError, "factor=1 must be at least 0 and bel"),
        (lambda opt: lr_scheduler.SequentialLR(opt, [], []), ValueError, "schedulers is empty"),
        (lambda opt: lr_scheduler.SequentialLR(opt, [abs], []), TypeError, r"schedulers\[0\] must be an LRScheduler"),
        (
            lambda opt: lr_scheduler.SequentialLR(opt, [lr_scheduler.ReduceLROnPlateau(opt)], []),
            ValueError,
            r"schedulers\[0\] is a ReduceLROnPlateau",
        ),
        (
            lambda opt: lr_scheduler.SequentialLR(opt, [lr_scheduler.ExponentialLR(optimizer(), 1)], []),
            ValueError,
            r"schedulers\[0\] was made for another optimizer",
        ),
        (
            lambda opt: lr_scheduler.SequentialLR(opt, [lr_scheduler.ExponentialLR(opt, 1)], [1]),
            ValueError,
            "1 schedulers need 0 milestones, got 1",
        ),
    ],
)
def test_schedulers_refuse(build, error, message):
    with pytest.raises(error, match=message):
        build(optimizer(momentum=0.9))


def test_one_cycle_needs_something_to_cycle():
    class Plain(optim.Optimizer):
        def _check(self, group):
            pass

    with pytest.raises(ValueError, match="needs an optimizer with momentum or betas, which Plain lacks"):
        lr_scheduler.OneCycleLR(Plain([Tensor([1.0], requires_grad=True)], {"lr": 0.1}), 1, 10)


def test_one_cycle_ends():
    opt = optimizer(momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(opt, 1, 3)
    for _ in range(3):
        scheduler.step()
    before = rates_and_momentum(opt)
    with pytest.raises(ValueError, match="step was called more than total_steps=3 times"):
        scheduler.step()
    assert rates_and_momentum(opt) == before
