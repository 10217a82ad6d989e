"""Reads the configuration again when it is asked to, and has it taken over or refuses it.

The rules:
- one reload at a time; whoever asks meanwhile waits, and then the files are read anew;
- everything that can be wrong is looked for before anything is changed, and told together;
- who asked may go away: a reload that has begun goes on.
"""

import asyncio
import os
from collections.abc import Callable

import structlog

from cdcd.admin.reload import Refused, Reloaded
from cdcd.clock import Clock
from cdcd.config.load import Texts, load
from cdcd.config.model import Config
from cdcd.errors import CdcdError, ConfigError, PermanentError, TransientError
from cdcd.lifecycle import Failed, Tasks
from cdcd.reloading.parts import Rules
from cdcd.reloading.plan import Plan, compare
from cdcd.reloading.taking import Ready, Running, Taken, Taking
from cdcd.server import rules
from cdcd.sources.preparing import recognise
from cdcd.triggers.trigger import Trigger, compile_all, mistakes_of
from cdcd.upkeep.beforehand import look_at_database

log = structlog.get_logger()

REACH = 20.0  # seconds that the look at a database may take
READ = 30.0  # seconds for which the answer waits until the databases have been read up to their positions


def read_configuration(config: Config, texts: Texts | None = None) -> Config:
    """The configuration as its files say it now, `texts` in the place of some. Raises ConfigError, for expressions too."""
    return load(config.path, os.environ, mistakes_of, rules.mistakes_of, texts)


def load_configuration(config: Config) -> tuple[Config, tuple[Trigger, ...]]:
    """The configuration as its files say it now, and its triggers compiled. Raises ConfigError."""
    new = read_configuration(config)
    return new, compile_all(new)


class Reloader:
    """A part; see the module. `begins` are called when a reload begins, `ended` with what came of it. `last` is what came of the last."""

    name = "reload"

    def __init__(self, running: Running, clock: Clock, failed: Failed) -> None:
        self.last: Reloaded | Refused | None = None
        self.begins: list[Callable[[], None]] = []
        self.ended: list[Callable[[Reloaded | Refused], None]] = []
        self._running = running
        self._taking = Taking(running)
        self._clock = clock
        self._tasks = Tasks(self.name, failed)
        self._turn = asyncio.Lock()
        self._started = False
        self._asked = ""  # who has asked before the start

    async def start(self) -> None:
        """From now on it can be asked."""
        self._started = True
        if self._asked:
            self.soon(self._asked)

    async def stop(self) -> None:
        """A reload that was not taken over is given up."""
        self._started = False
        await self._tasks.cancel()

    def soon(self, who: str) -> None:
        """Reload, and let the log say what came of it."""
        if self._started:
            self._tasks.spawn(self._told(who), "soon")
        else:
            self._asked = who

    async def reload(self, who: str) -> Reloaded:
        """See `cdcd.admin.reload.Reload`."""
        doing: asyncio.Task[Reloaded | CdcdError] = self._tasks.spawn(self._told(who), "reload")
        result = await asyncio.shield(doing)
        if isinstance(result, CdcdError):
            raise result
        return result

    async def _told(self, who: str) -> Reloaded | CdcdError:
        """Raises nothing that is no mistake of ours."""
        async with self._turn:
            for begins in self.begins:
                begins()
            try:
                done = await self._reload(who)
            except (ConfigError, TransientError) as error:
                mistakes = error.mistakes if isinstance(error, ConfigError) else [str(error)]
                self.last = Refused(who, self._clock.now(), tuple(mistakes), error.hint)
                log.error("reload.refused", who=who, mistakes=mistakes, hint=error.hint or "mend them; nothing has changed")
                return error
            else:
                self.last = done
                return done
            finally:
                if self.last is not None:
                    for ended in self.ended:
                        ended(self.last)

    async def _reload(self, who: str) -> Reloaded:
        running, former = self._running, self._running.rules.config
        log.info("reload.begins", who=who, file=str(former.path))
        try:
            config, triggers = await asyncio.to_thread(load_configuration, former)
        except CdcdError:
            raise
        except Exception as error:  # a mistake of ours in reading a file must not end what runs well without it
            what = f"{former.path}: cdcd made a mistake while it read this ({type(error).__name__}); please report it"
            raise ConfigError([what]) from error
        applying = Rules.of(config, (*triggers, *running.always))
        plan = compare(former, config, self._taking.reading)
        ready = await self._ready(applying, plan)
        taken = self._taking.take_over(ready)
        await self._taking.begin(ready, taken)
        settling = self._tasks.spawn(self._settle(plan, taken, former), "settle")
        await asyncio.wait((settling,), timeout=READ)
        behind = tuple(name for name, reached in taken.reached.items() if not reached.done())
        for warning in config.warnings:
            log.warning("config.warning", warning=warning)
        done = Reloaded(
            *(who, self._clock.now(), plan.added, plan.changed, plan.removed, plan.options, taken.positions, behind),
            kept=settling.result() if settling.done() and not settling.cancelled() else {},
            warnings=config.warnings,
        )
        log.info(
            "reload.taken", who=who, added=plan.added, changed=plan.changed, removed=plan.removed, options=plan.options,
            positions=taken.positions, behind=behind, kept=done.kept,
        )  # fmt: skip
        return done

    async def _ready(self, applying: Rules, plan: Plan) -> Ready:
        """Everything that may be refused. Raises ConfigError with all of it, or TransientError."""
        running, config = self._running, applying.config
        mistakes, hints = list(plan.refused), list[str]()
        transient: TransientError | None = None
        requests = None
        try:
            requests = await running.sender.prepare(config.limits, running.maker.signer(config), applying.triggers)
        except ConfigError as error:
            mistakes += error.mistakes
        try:
            running.judge(config)
        except ConfigError as error:
            mistakes += error.mistakes
        names = sorted(plan.cut | plan.rerouted | plan.opened) if not plan.refused else sorted(plan.cut | plan.opened)
        for found in await asyncio.gather(*(self._look(applying, name) for name in names if name in config.databases)):
            if isinstance(found, TransientError):
                transient = transient or found
            elif found is not None:
                mistakes += [f"{config.path}: {line}" for line in str(found).splitlines()]
                hints += found.hint.splitlines()
        try:
            if mistakes:
                raise ConfigError(list(dict.fromkeys(mistakes)), hint="\n".join(hint.strip() for hint in hints))
            if transient is not None:
                raise transient
            assert requests is not None
            try:
                return await self._taking.prepare(applying, plan, requests)
            except PermanentError as error:
                raise ConfigError([f"{config.path}: {line}" for line in str(error).splitlines()], hint=error.hint) from error
        except BaseException:
            if requests is not None:
                await running.sender.discard(requests)
            raise

    async def _look(self, applying: Rules, name: str) -> PermanentError | TransientError | None:
        """At one database, as the first start does."""
        database = applying.config.databases[name]
        source = next((each for each in self._running.rows.parts if each.cuts.database.name == name), None)
        try:
            async with asyncio.timeout(REACH):
                await look_at_database(applying.config, database, applying.wants(name).triggers)
                if source is not None and source.cuts.database.url != database.url:
                    await recognise(applying.config, source.cuts, database)
        except (PermanentError, TransientError) as error:
            return error
        except TimeoutError:
            return TransientError(f"database {name!r} did not answer within {REACH:g} s", hint="reload when it does")
        return None

    async def _settle(self, plan: Plan, taken: Taken, former: Config) -> dict[str, int]:
        late = bool(taken.settling)
        kept = await self._taking.settle(plan, taken, former)
        if plan.cut:
            self._tasks.spawn(self._taking.tidy(plan.cut), "tidy")
        if late:
            log.info("reload.settled", removed=plan.removed, kept=kept)
        return kept
