"""What a source reads again after a restart: looked up by id before it is offered, so that nothing is sent again that is recorded."""

from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from cdcd.event import Delivery
from cdcd.store.reads import Reads


async def unrecorded(
    reads: Reads, deliveries: Sequence[Delivery], look_up_to: int, log: FilteringBoundLogger
) -> list[Delivery] | None:
    """Those that the store does not hold; the others are settled. None: all are of behind the position `look_up_to`, up to which it may
    hold any. Raises StoreUnavailable."""
    again = [each for each in deliveries if each.event.position <= look_up_to]
    if not again:
        return None
    known = await reads.known([(delivery.id, delivery.event.time) for delivery in again])
    if known:
        log.info("source.known_already", deliveries=len(known))
        for delivery in again:
            if delivery.id in known and delivery.checkpoint is not None:
                delivery.checkpoint.settle()
    return [each for each in deliveries if each.id not in known]
