"""The routes of the page."""


def page_routes(model):
    """Returns a list of Starlette routes."""
    return []
