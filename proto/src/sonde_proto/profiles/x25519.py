"""The public half of a WireGuard key. **Pure.**

Written here because the ground carries no cryptography library. It is not constant in time: it is only for
keys of this host, in a process of this host, to name them.

Source: RFC 7748 section 5.
"""

_P = 2**255 - 19
_A24 = 121_665


def public_key(private: bytes) -> bytes:
    """Give the 32 bytes of the public key of `private`, 32 bytes."""
    scalar = int.from_bytes(private, "little") & ~7 & (2**254 - 1) | 2**254
    x1 = 9
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for at in range(254, -1, -1):
        bit = scalar >> at & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b = x2 + z2, x2 - z2
        aa, bb = a * a % _P, b * b % _P
        e = aa - bb
        da, cb = (x3 - z3) * a % _P, (x3 + z3) * b % _P
        x3, z3 = (da + cb) ** 2 % _P, x1 * (da - cb) ** 2 % _P
        x2, z2 = aa * bb % _P, e * (aa + _A24 * e) % _P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _P - 2, _P) % _P).to_bytes(32, "little")
