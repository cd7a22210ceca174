//! Dynamixel Protocol 2.0: what goes over the bus of a Koch, `ViperX`, `WidowX` or ALOHA.
