from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from workspace.identity import SESSION_WORKSPACE, Principal, for_user
from workspace.models import Role
from workspace.pages.door import page


@require_POST
@page(writes=Role.VIEWER)
def switch(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """Go on in another workspace of the user.

    Raises:
        ApiError: 403 for one that they are not a member of.
    """
    assert principal.user is not None
    wanted = for_user(principal.user, request.POST.get("workspace", ""), "session")
    request.session[SESSION_WORKSPACE] = str(wanted.workspace.pk)
    return redirect("overview")
