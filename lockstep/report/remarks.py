"""The remarks of a report: sentences that are not the verdict. One function for each."""

from lockstep.text import counted, grouped


def not_judged(missing: list[str]) -> str:
    """What a derivation did not return. missing: quantities, or "a part of grad_W_o"."""
    return f"not returned, so not judged: {', '.join(missing)}"


def loses_digits(name: str, activation: str, step: int, label: str, digits: int) -> str:
    """An activation that is right, by a formula that cancels. label: its least precise element."""
    return (
        f"{name} is right, but its formula for {activation} loses digits where the value is "
        f"small: at step {grouped(step)}, {label} has {counted(digits, 'correct digit')}"
    )


def follows(names: list[str], causes: list[str]) -> str:
    """What differs only because quantities before it do."""
    is_one = len(names) == 1
    return (
        f"{', '.join(names)} differ{'s' * is_one} only because {' and '.join(causes)} "
        f"{'does' if len(causes) == 1 else 'do'}"
    )


def no_step() -> str:
    """A run of 0 steps."""
    return "no step was run, so nothing was compared"


def ended_early(reason: Exception) -> str:
    """A recording that cannot be read on."""
    return f"ended early: {reason}"


def recording_ended(run: int, asked: int) -> str:
    """A recording that is shorter than the run that was asked for."""
    return f"the recording has {grouped(run)} of the {grouped(asked)} steps that were asked for"


def interrupted_before(what: str) -> str:
    """An interrupted run. what: control, referee or battery."""
    return f"interrupted before the {what} that was asked for"


def nothing_to_judge(what: str) -> str:
    """A run none of whose steps could be judged. what: control or referee."""
    return f"no {what}: there is no step whose numbers could all be judged"


def too_slow_for_the_referee(most: int) -> str:
    """A network that is too large for exact arithmetic. most: multiply-adds a step."""
    return f"no referee: exact arithmetic is too slow beyond {most:,} multiply-adds a step"


def no_battery() -> str:
    """Numbers in place of a function."""
    return "no battery: numbers are of one problem and cannot be tried on others"


def right_elsewhere(problems: int) -> str:
    """A derivation that every other problem agrees with."""
    return f"right on all {problems} other problems that were tried as well"
