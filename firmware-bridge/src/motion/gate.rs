//! The last gate before the codec, in ticks: it lets pass or it faults, and changes nothing.
