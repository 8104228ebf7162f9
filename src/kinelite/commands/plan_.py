"""kinelite plan MODEL --recipe R --gpu-memory 12GiB"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.commands.train_ import flag_value, looked_up, plain_batch
from kinelite.config import TrainConfig
from kinelite.errors import UsageError
from kinelite.recipes import recipe

if TYPE_CHECKING:
    from kinelite.plan.make import Plan, StagePlan

USAGE = "kinelite plan MODEL --recipe sfa --gpu-memory 12GiB"


@dataclass(frozen=True)
class PlanFlags:
    """What a plan is for; beside these, every flag of kinelite train."""

    recipe: str = "sfa"
    """Recipe that is planned: `kinelite list recipes`."""
    gpu_memory: str | None = None
    """Memory of a GPU, which need not be here: 12GiB, 12GB, 12000MiB. With --device cuda: of this machine's."""
    gpu: str | None = None
    """Name of a card, for its published memory and rates: 'rtx 3060', t4, a100-80gb."""
    cpu_memory: str | None = None
    """Memory of a computer that trains without a GPU."""
    outside: str | None = None
    """Memory that the process takes beside tensors (default: 1GiB on a GPU for its context, libraries and what the
    allocator cannot use; 0.6GiB on a CPU for Python and libraries)."""
    clips: int | None = None
    """Training clips, in place of those of --data."""
    classes: int | None = None
    """Classes, in place of those of --data."""
    calibrate: bool = False
    """Measure the device of this machine with a few real steps; later plans use that too."""
    table: bool = True
    """Peaks over frames x batch."""


@dataclass(frozen=True)
class PlanCommand:
    """Options of the plan and of the run that is planned."""

    options: Annotated[PlanFlags, tyro.conf.arg(name="")] = field(default_factory=PlanFlags)
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)


DESCRIPTION = f"""What training takes, before it runs and without the device: peak memory by part, the largest batch
and number of frames that fit, hours, disk for stored features; and what would fit where it doesn't.

Example: {USAGE} --data kinetics400

MODEL comes first. All flags of kinelite train hold. Without
--gpu-memory, --gpu or --cpu-memory the plan is for this machine."""


def main(args: list[str]) -> dict[str, Any]:
    """Parse, plan, print."""
    flags, own_data = read_flags(args)
    from kinelite.plan.clips import count_clips
    from kinelite.plan.make import make_plan
    from kinelite.plan.target import choose_target

    options, config = flags.options, flags.train
    for name in ("clips", "classes"):
        asked = getattr(options, name)
        if asked is not None and asked < 1:
            raise UsageError(f"--{name} {asked}: give 1 or more.")
    target = choose_target(options.gpu_memory, options.cpu_memory, options.gpu, config.device, options.outside)
    print(f"Planning '{config.model}' with recipe '{config.recipe}' for {target.name}.", flush=True)
    clips = count_clips(config.data if own_data else None, config.split, options.clips, options.classes)
    plan = make_plan(config, target, clips, table=options.table, calibrate=options.calibrate)
    _print(plan, config.data if own_data else "SPEC")
    return plan.to_json()


def read_flags(args: list[str]) -> tuple[PlanCommand, bool]:
    """Flags of MODEL and the rest, with the recipe's values as defaults, and whether a set of clips was chosen."""
    if not args:
        raise UsageError(f"Which model? {USAGE}")
    flags = list(args)
    if not flags[0].startswith("-"):
        if flag_value(flags, "model"):
            raise UsageError(f"Two models: '{flags[0]}' and --model {flag_value(flags, 'model')}. Name one: {USAGE}")
        flags[:1] = ["--model", flags[0]]
    elif not {"-h", "--help"} & set(flags) and not flag_value(flags, "model"):
        raise UsageError(f"The model comes first: {USAGE}")
    flags = plain_batch(flags)
    name = flag_value(flags, "recipe") or PlanFlags.recipe
    config = recipe(name)(**looked_up(flags))
    default = PlanCommand(PlanFlags(recipe=name), config)
    found: PlanCommand = parse(PlanCommand, "kinelite plan", flags, default, DESCRIPTION)
    return found, found.train.data != TrainConfig.data or flag_value(flags, "data") is not None


def _print(plan: Plan, data: str) -> None:
    room = plan.memory_gib - plan.outside_gib
    print(
        f"{plan.precision}; {plan.clips_source}. {plan.memory_gib:.4g} GiB, of which {plan.outside_gib:.4g} are taken "
        f"by the process beside tensors (assumed; --outside): {room:.4g} GiB for tensors."
    )
    for number, stage in enumerate(plan.stages, 1):
        _print_stage(number, plan, stage)
    found = plan.to_json()
    if found["hours"] is not None and len(plan.stages) > 1:
        print(f"\nIn all about {_time(found['hours'])}, reading of clips and evaluations left out.")
    ways = [r["change"] for s in plan.stages for r in s.remedies if r["fits"] and r["change"].startswith("--")]
    verdict = "It fits." if plan.fits else "It does not fit as it is."
    change = next((way for way in ways if not way.startswith("--model")), "")
    print(f"{verdict} Next: kinelite train {plan.recipe} --model {plan.model} --data {data} {change or '--batch auto'}")


def _print_stage(number: int, plan: Plan, stage: StagePlan) -> None:
    pieces = "" if stage.micro_batch == stage.batch else f", {stage.micro_batch} at a time"
    kind = ", on stored features" if stage.stored else ""
    print(
        f"\nStage {number} '{stage.name}': {stage.frames} frames of {stage.size} px, batch {stage.batch}{pieces}, "
        f"{stage.epochs} epochs{kind}"
    )
    verdict = "fits" if stage.fits else "DOES NOT FIT"
    print(f"  peak memory     {stage.peak_memory_gib:.2f} GiB: {verdict}")
    print("    " + ", ".join(f"{part} {size:.2f}" for part, size in stage.parts_gib.items()))
    if len(stage.passes_gib) > 1:
        print("    by pass: " + ", ".join(f"{name} {size:.2f}" for name, size in stage.passes_gib.items()))
    print(f"  largest batch   {_most(stage.max_batch)} at once, at {stage.frames} frames")
    print(f"  most frames     {_most(stage.max_frames)} at {stage.micro_batch} clips at a time")
    if stage.hours is not None:
        print(f"  time            {_time(stage.hours)}: {stage.hours_basis}")
    else:
        print(f"  time            {stage.hours_basis}")
    if len(stage.hours_by_card) > 1:
        print("    " + ", ".join(f"{name} {_time(hours)}" for name, hours in stage.hours_by_card.items()))
    if stage.features_gib is not None:
        taken = "" if stage.stored else ", if they are stored"
        print(f"  disk            {stage.features_gib:.2f} GiB of features{taken}")
    _print_table(stage)
    for remedy in stage.remedies:
        mark = "fits" if remedy["fits"] else "does not fit"
        same = "" if remedy["same_result"] else "; learns something else"
        print(f"  with {remedy['change']}: {remedy['peak_memory_gib']:.2f} GiB, {mark}{same}")


def _print_table(stage: StagePlan) -> None:
    if not stage.table:
        return
    columns = sorted({cell["clips"] for cell in stage.table})
    print("  GiB at a batch of" + "".join(f"{n:>9}" for n in columns) + "    (*: does not fit; -: nor does this)")
    for frames in sorted({cell["frames"] for cell in stage.table}):
        cells = {cell["clips"]: cell for cell in stage.table if cell["frames"] == frames}
        print(f"    {frames:>4} frames   " + "".join(f"{_cell(cells[n]):>9}" for n in columns))


def _cell(cell: dict[str, Any]) -> str:
    peak = cell["peak_memory_gib"]
    return "- " if peak is None else f"{peak:.2f}{' ' if cell['fits'] else '*'}"


def _most(count: int) -> str:
    from kinelite.plan.stages import MOST_CLIPS

    return f"{count} or more" if count >= MOST_CLIPS else str(count) if count else "none"


def _time(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} minutes" if hours < 2 else f"{hours:.1f} hours"
