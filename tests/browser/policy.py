"""The Content-Security-Policy of the test project, stricter than `default-src 'self'`."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""Nothing inline, nothing evaluated, and nothing from elsewhere."""


def content_security_policy(get_response):
    """Send the policy with every response."""

    def middleware(request):
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return middleware
