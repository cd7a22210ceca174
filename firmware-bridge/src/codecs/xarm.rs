//! UFACTORY's private protocol over TCP: what an xArm 5, 6 or 7 speaks.
