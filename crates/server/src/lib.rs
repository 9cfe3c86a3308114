//! Control plane: the driving loop, the API, live events.
