"""Bootstrap intervals, ranks and Pareto fronts: functions of arrays."""

__all__ = ()
