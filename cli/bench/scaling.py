"""``lion-bench scaling``."""

from typing import Any

import click

from lion_ports.cli.bench import catalog
from lion_ports.cli.bench.running import collect, common_options, finish, settings
from lion_ports.cli.bench.step import contender_options, refuse_too_large
from lion_ports.cli.bench.variants import variants

ALSO = ("mlx Lion, mx.compile", "torch AdamW fused", "optax.adamw", "mlx AdamW, mx.compile")


@click.command("scaling")
@click.option(
    "--max",
    "most",
    type=click.IntRange(1_000, 1_000_000_000),
    default=10_000_000,
    show_default=True,
    metavar="N",
    help="Most parameters in a tensor; measured are the powers of ten from 1,000 to it, so that "
    "5000 is 1,000 alone.",
)
@click.option(
    "--total",
    type=click.IntRange(1, 1_000_000_000),
    default=1_000_000,
    show_default=True,
    metavar="N",
    help="Parameters that are divided among 1, 10, 100 ... 10,000 tensors.",
)
@contender_options
@common_options(rounds=7, seconds=0.02)
def command(
    most: int,
    total: int,
    only: tuple[str, ...],
    peers: bool,
    more: tuple[str, ...],
    with_: tuple[str, ...],
    **given: Any,
) -> int:
    """From small to large: one tensor of many sizes, one size in many tensors.

    Without --only: our optimizers, the Lion that is in use on each backend, and its AdamW; without
    torch.compile, which compiles for ten seconds at each point.
    """
    from lion_ports.cli.bench.figures import complete

    chosen = settings("scaling", given)
    contenders = catalog.chosen(chosen.backends, only=only, peers=peers, more=more)
    contenders += variants(contenders, with_)
    if not only:
        few = {*catalog.BASELINES.values(), *ALSO}
        slow = [c for c in contenders if c.backend == "torch" and c.way == "compile"]
        contenders = [c for c in contenders if c.ours or not c.package or c.name in few]
        contenders = [c for c in contenders if c not in slow]
    sizes = [10**power for power in range(3, 10) if 10**power <= most]
    counts = [10**power for power in range(5) if 10**power <= total]
    cases = [{"name": f"1x{size}", "shapes": [(size,)]} for size in sizes]
    cases += [{"name": f"{n}x{total // n}", "shapes": n * [(total // n,)]} for n in counts]
    refuse_too_large(contenders, [[(max(*sizes, total),)]], chosen)
    document = collect(
        "scaling",
        chosen,
        contenders,
        lambda backend: {"measure": "measure", "memory": False, "cases": cases},
    )
    for result in document["backends"]:
        for number, case in enumerate(result["cases"]):
            case["series"] = "size" if number < len(sizes) else "count"
        complete(result)
    return finish(document, chosen)
