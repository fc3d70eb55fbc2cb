"""`ticklake`: the whole platform on one machine, no Docker and no Kubernetes."""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NoReturn, TypeVar

from ticklake import history_options
from ticklake.program import Arguments, guarded, iso_date, run_id
from ticklake.records import DAILY_SOURCES
from ticklake.settings import Symbols
from ticklake_local.data_folder import DEFAULT_FOLDER
from ticklake_local.environment import cache_folder, java_home

P = TypeVar("P", date, datetime)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the arguments name; exit code 0 done, 1 failed, 2 wrong call or input."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], None] = arguments.command
    sys.exit(guarded("ticklake", lambda: command(arguments)))


def _run(arguments: argparse.Namespace) -> None:
    from ticklake_local import run

    run.run(
        run.RunOptions(
            folder=arguments.data,
            cache=cache_folder(),
            source=arguments.source,
            symbols=arguments.symbols,
            batch_date=arguments.date,
            report=arguments.report,
            live=not arguments.no_live,
        )
    )


def _live(arguments: argparse.Namespace) -> None:
    from ticklake_local import live

    live.live(
        live.LiveOptions(
            folder=arguments.data, cache=cache_folder(), source=arguments.source, symbols=arguments.symbols
        )
    )


def _airflow(arguments: argparse.Namespace) -> None:
    if arguments.words:
        from ticklake_local.airflow_parts import command_line
        from ticklake_local.data_folder import DataFolder

        command_line(DataFolder.at(arguments.data), arguments.words)
    from ticklake_local import airflow

    airflow.airflow(
        airflow.AirflowOptions(
            folder=arguments.data, cache=cache_folder(), source=arguments.source, symbols=arguments.symbols
        )
    )


def _up(arguments: argparse.Namespace) -> None:
    from ticklake_local import background

    background.up(arguments.data)


def _down(arguments: argparse.Namespace) -> None:
    from ticklake_local import background

    background.down(arguments.data)


def _status(arguments: argparse.Namespace) -> None:
    from ticklake_local import background

    background.status(arguments.data)


def _serve(arguments: argparse.Namespace) -> None:
    from ticklake_local import background

    background.serve(arguments.data, cache_folder())


def _sql(arguments: argparse.Namespace) -> None:
    from ticklake_local import sql

    sql.query(arguments.data, " ".join(arguments.statement), as_csv=arguments.csv)


def _bars(arguments: argparse.Namespace) -> None:
    from ticklake_local import bars

    bars.show(
        bars.BarsOptions(
            folder=arguments.data,
            cache=cache_folder(),
            symbol=arguments.symbol,
            source=arguments.source,
            as_of=arguments.as_of,
            until=arguments.until,
            adjust=arguments.adjust,
            first=arguments.first,
            last=arguments.last,
            form=arguments.form,
        )
    )


def _held(arguments: argparse.Namespace) -> None:
    from ticklake_local import held

    options = held.HeldOptions(
        arguments.data,
        cache_folder(),
        getattr(arguments, "symbol", ""),
        getattr(arguments, "run", None),
        getattr(arguments, "by", None),
    )
    if arguments.action == "list":
        held.show_list(options)
    elif arguments.action == "show":
        held.show(options)
    else:
        held.decide(options, arguments.action)


def _quarantine(arguments: argparse.Namespace) -> None:
    from ticklake_local import quarantine

    options = quarantine.QuarantineOptions(
        arguments.data, cache_folder(), getattr(arguments, "id", ""), getattr(arguments, "by", None)
    )
    if arguments.action == "list":
        search = quarantine.Search(
            topic=arguments.topic,
            partition=arguments.partition,
            symbol=arguments.symbol,
            run=arguments.run,
            reason=arguments.reason,
            since=arguments.since,
            limit=arguments.limit,
            decided=arguments.all,
            as_json=arguments.json,
        )
        quarantine.show_list(options, search)
    elif arguments.action == "show":
        quarantine.show(options, raw=arguments.raw)
    elif arguments.action == "mend":
        quarantine.decide(options, "mend", value=arguments.value, key=arguments.key)
    else:
        quarantine.decide(options, arguments.action)


def _doctor(arguments: argparse.Namespace) -> None:
    from ticklake_local import doctor

    doctor.doctor(doctor.DoctorOptions(arguments.data, cache_folder(), arguments.cluster))


def _fetch_jars(_: argparse.Namespace) -> None:
    from ticklake_local.platform import prepare_tools

    prepare_tools(cache_folder(), java_home(), print)


def _symbols(text: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    try:
        return ",".join(TypeAdapter(Symbols).validate_python(text))
    except ValidationError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no comma-separated list of tickers: {error.errors()[0]['msg']}"
        ) from None


def _symbol(text: str) -> str:
    found = _symbols(text)
    if "," in found:
        raise argparse.ArgumentTypeError(f"{text!r} is more than one ticker")
    return found


def _as_of(text: str) -> datetime:
    return _past(text, history_options.moment)


def _until(text: str) -> date:
    return _past(text, history_options.day)


def _past(text: str, read: Callable[[str], P]) -> P:
    try:
        return read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="ticklake", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], None], help_text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
        added.set_defaults(command=command)
        added.add_argument(
            "--data", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="folder of all data (default .ticklake)"
        )
        return added

    def add_input(to: argparse.ArgumentParser) -> None:
        to.add_argument(
            "--source",
            choices=("auto", *DAILY_SOURCES),
            default="auto",
            help="auto: Yahoo where it can be reached, else recorded real bars",
        )
        to.add_argument("--symbols", type=_symbols, help="comma-separated tickers (default: the source's own list)")

    run = add("run", _run, "run the batch pipeline and a short live part once, then stop everything")
    add_input(run)
    run.add_argument("--date", type=iso_date, help="the batch's date, YYYY-MM-DD (default: the source's last session)")
    run.add_argument("--report", type=Path, metavar="FILE.json", help="write the closing figures as JSON")
    run.add_argument("--no-live", action="store_true", help="leave the live part out")
    add_input(add("live", _live, "keep ticks, archive, streaming analytics and the daily batch running until Ctrl-C"))
    orchestrated = add("airflow", _airflow, "keep Airflow running until Ctrl-C, its tasks local processes")
    add_input(orchestrated)
    orchestrated.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="…", help="with words: Airflow's own command, e.g. dags list"
    )
    add("up", _up, "start broker, store, warehouse and warm stage hosts in the background")
    add("down", _down, "stop what up started")
    add("status", _status, "show what runs on this data folder and where")
    ask = add("sql", _sql, "ask the warehouse")
    ask.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    ask.add_argument("statement", nargs="+", help='e.g. "select …"')
    _add_bars(add("bars", _bars, "show a symbol's daily bars, as they were known at any moment"))
    _add_held(add("held", _held, "what is held for a person's decision: list, show, release or drop it"))
    _add_quarantine(
        add("quarantine", _quarantine, "what failed validation: list, show, mend and replay, replay or drop it")
    )
    check = add("doctor", _doctor, "check this machine and data folder, or a cluster, and say what to do")
    check.add_argument(
        "--cluster",
        nargs="?",
        const="ticklake",
        metavar="NAMESPACE",
        help="the platform in this namespace of the current cluster (default ticklake), not this machine",
    )
    add("fetch-jars", _fetch_jars, "fetch the jars of Kafka, s3proxy and Spark's connectors where missing")
    add("serve", _serve, "what up starts: run broker, store, warehouse and hosts until SIGTERM")
    return parser


def _add_bars(to: argparse.ArgumentParser) -> None:
    to.add_argument("symbol", type=_symbol, metavar="SYMBOL", help="ticker in Yahoo's notation")
    to.add_argument(
        "--as-of",
        type=_as_of,
        metavar="WHEN",
        help="only what was known then: a date for the end of that day in UTC, or a time with its offset",
    )
    to.add_argument(
        "--until",
        type=_until,
        metavar="YYYY-MM-DD",
        help="only sessions, splits and dividends up to that day, for history that was fetched later",
    )
    to.add_argument(
        "--adjust",
        choices=history_options.ADJUSTMENTS,
        default="splits",
        help="what prices are adjusted for: none is as traded, all is splits and dividends (default: splits)",
    )
    to.add_argument("--from", dest="first", type=iso_date, metavar="YYYY-MM-DD", help="first session to show")
    to.add_argument("--to", dest="last", type=iso_date, metavar="YYYY-MM-DD", help="last session to show")
    to.add_argument("--source", choices=DAILY_SOURCES, help="default: the first of these that has the symbol")
    form = to.add_mutually_exclusive_group()
    form.add_argument("--format", dest="form", choices=("table", "csv", "parquet"), default="table")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="the same as --format csv")


def _add_held(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("list", "the symbols that are held now, since when and why"),
        ("show", "the rows of the stored answer, beside what is known, and why it is held"),
        ("release", "send the stored answer through the stages"),
        ("drop", "set the stored answer aside for good; the next run asks again"),
    ):
        added = actions.add_parser(name, help=text, description=text)
        # Also after the action, where people write it.
        added.add_argument("--data", type=Path, default=argparse.SUPPRESS, metavar="DIR", help=argparse.SUPPRESS)
        if name == "list":
            continue
        added.add_argument("symbol", type=str.upper, metavar="SYMBOL")
        added.add_argument("--run", type=run_id, metavar="RUN", help="the run that holds it (default: the newest)")
        if name != "show":
            added.add_argument("--by", metavar="NAME", help="who decides (default: the user of this machine)")


def _add_quarantine(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
        # Also after the action, where people write it.
        added.add_argument("--data", type=Path, default=argparse.SUPPRESS, metavar="DIR", help=argparse.SUPPRESS)
        return added

    search = add("list", "the messages and rows that wait for a decision, newest first")
    search.add_argument("--topic", help="of this topic")
    search.add_argument("--partition", type=_whole, metavar="N", help="of this partition")
    search.add_argument("--symbol", type=str.upper, help="rows of this symbol, and messages with it as key")
    search.add_argument("--run", type=run_id, help="of this run")
    search.add_argument("--reason", default="", metavar="TEXT", help="with this in the reason")
    search.add_argument("--since", type=_since, metavar="WHEN", help="that came since a date or a time with its offset")
    search.add_argument("--limit", type=_whole, default=50, metavar="N", help="show so many at most (default 50)")
    search.add_argument("--all", action="store_true", help="also those that somebody has decided on")
    search.add_argument("--json", action="store_true", help="print a JSON object a line")
    for name, text in (
        ("show", "its bytes, why it was rejected, where it came from, what was and what can be done"),
        ("mend", "replay it with other bytes, if those are valid"),
        ("replay", "send it again as it is, if it is valid now; or go on with a replay that was cut short"),
        ("drop", "set it aside for good"),
    ):
        added = add(name, text)
        added.add_argument("id", type=_message_id, metavar="ID", help="its id in the list, or the beginning of it")
        if name == "show":
            added.add_argument("--raw", action="store_true", help="write its bytes to stdout and nothing else")
            continue
        if name == "mend":
            added.add_argument("--value", type=Path, required=True, metavar="FILE", help="the bytes; - for stdin")
            added.add_argument("--key", help="the key to send them with (default: the message's)")
        added.add_argument("--by", metavar="NAME", help="who decides (default: the user of this machine)")


def _message_id(text: str) -> str:
    if not 0 < len(text) <= 16 or text.lower().strip("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"{text!r} is no id: up to 16 hex digits, as list shows them")
    return text.lower()


def _since(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a date like 2026-01-31 nor a time like 2026-01-31T21:00:00Z"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


if __name__ == "__main__":
    main()
