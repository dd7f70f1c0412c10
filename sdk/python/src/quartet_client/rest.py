"""The generated functions, one for each operation of the OpenAPI document.

    from quartet_client.rest import operations

    document = operations.get_jwks.sync(client=quartet.rest)

With the ``rest`` of a ``Quartet`` or ``AsyncQuartet`` they use its retries, tokens and errors.
"""

from quartet_client._generated import operations
from quartet_client._generated.rest import models

__all__ = ["models", "operations"]
