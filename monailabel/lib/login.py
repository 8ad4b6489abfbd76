"""Authentication that works: MONAI Label 0.8.5 refuses every token, as it does not tell PyJWT which signatures to take."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import jwt
from monailabel.endpoints.user import auth

#: What Keycloak signs with; a fixed list, so that no token can choose its own check.
ALGORITHMS = ("RS256",)


def accept_signed_tokens() -> None:
    """From now on a token that the realm has signed, and that has not expired, lets its user in."""
    auth.jwt = SimpleNamespace(decode=partial(jwt.decode, algorithms=list(ALGORITHMS)))
