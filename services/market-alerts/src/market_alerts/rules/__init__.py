"""The kinds of rule, a module each. A new kind is such a module, joined here, and in the enum of the chart's schema."""

from typing import Annotated, get_args

from pydantic import Field

from market_alerts.rules.base import TARGETS, BaseRule, Condition, Target
from market_alerts.rules.change_percent import ChangePercent
from market_alerts.rules.ma_cross import MaCross
from market_alerts.rules.price_cross import PriceCross
from market_alerts.rules.rsi import Rsi
from market_alerts.rules.volatility import Volatility
from market_alerts.rules.volume_spike import VolumeSpike

Rule = Annotated[PriceCross | ChangePercent | Volatility | Rsi | VolumeSpike | MaCross, Field(discriminator="kind")]

KINDS: dict[str, type[Rule]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(get_args(Rule)[0])
}

__all__ = ["KINDS", "TARGETS", "BaseRule", "Condition", "Rule", "Target"]
