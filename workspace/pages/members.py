"""The page of the workspace's members and their roles."""

from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from workspace.audit import audit
from workspace.errors import ApiError
from workspace.identity import Principal
from workspace.models import Invitation, Membership, Role
from workspace.pages.door import page, show
from workspace.permissions import require


class NewInvitation(forms.Form):
    email = forms.EmailField(max_length=254)
    role = forms.ChoiceField(choices=Role.choices)


@require_http_methods(["GET", "HEAD", "POST"])
@page(writes=Role.ADMIN)
def members(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """List the members; POST invites someone, with a link that is shown this once."""
    if request.method != "POST":
        return listing(request, principal)
    form = NewInvitation(request.POST)
    if not form.is_valid():
        return listing(request, principal, 400, errors=form.errors, typed=request.POST)
    role = Role(form.cleaned_data["role"])
    require(principal, role)
    email = form.cleaned_data["email"]
    if Membership.objects.filter(workspace=principal.workspace, user__email__iexact=email).exists():
        problem = {"email": [f"{email} is a member already."]}
        return listing(request, principal, 400, errors=problem, typed=request.POST)
    with transaction.atomic():
        made = Invitation.issue(principal.workspace, email, role, principal.user)
        audit(request, principal, "member.invite", made, email=email, role=role.value)
    link = request.build_absolute_uri(reverse("invitation", args=[made.token]))
    return listing(request, principal, made=made, link=link)


@require_POST
@page(writes=Role.ADMIN)
def change_member(request: HttpRequest, principal: Principal, member_id: int) -> HttpResponseBase:
    """Give a member another role, or remove them.

    Raises:
        ApiError: 403 for a member or a role above one's own; 409 for the last owner.
    """
    wanted = request.POST.get("role", "")
    if wanted not in (*Role.values, "remove"):
        raise ApiError(400, "invalid_value", f"The role must be one of {', '.join(Role.values)}.", "role")
    with transaction.atomic():
        members = Membership.objects.select_for_update(of=("self",)).select_related("user")
        everyone = list(members.filter(workspace=principal.workspace))
        membership = get_object_or_404(members, pk=member_id, workspace=principal.workspace)
        require(principal, Role(membership.role))
        owners = [each for each in everyone if each.role == Role.OWNER]
        if owners == [membership] and wanted != Role.OWNER:
            raise ApiError(409, "last_owner", "A workspace needs an owner; make someone else one first.")
        if wanted == "remove":
            audit(request, principal, "member.remove", membership, email=membership.user.email)
            membership.delete()
        else:
            require(principal, Role(wanted))
            membership.role = wanted
            membership.save(update_fields=["role"])
            audit(request, principal, "member.change", membership, email=membership.user.email, role=wanted)
    done = "is removed" if wanted == "remove" else f"is now {wanted}"
    messages.success(request, f"{membership.user.email} {done}.")
    return redirect("members")


def listing(request: HttpRequest, principal: Principal, status: int = 200, **context: Any) -> HttpResponseBase:
    everyone = Membership.objects.filter(workspace=principal.workspace).select_related("user")
    roles = [role for role in Role if principal.role.covers(role)]
    found = [(each, principal.role.covers(Role(each.role))) for each in everyone]
    invited = Invitation.open_ones().filter(workspace=principal.workspace).select_related("created_by")
    return show(
        request,
        principal,
        "workspace/members.html",
        status,
        section="members",
        members=found,
        roles=roles,
        invited=invited,
        **context,
    )
