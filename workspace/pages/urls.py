"""The pages of the core: signing in, workspaces, keys, members."""

from django.contrib.auth.views import LogoutView, PasswordChangeView
from django.templatetags.static import static
from django.urls import path
from django.views.generic import RedirectView

from workspace.pages import invitations, keys, members, providers, workspaces
from workspace.pages.device_login import device_login
from workspace.pages.sign_in import SignIn

urlpatterns = [
    path("cli", device_login),
    path("favicon.ico", RedirectView.as_view(url=static("workspace/mark.svg"))),
    path("sign-in", SignIn.as_view(), name="sign_in"),
    path("sign-out", LogoutView.as_view(), name="sign_out"),
    path(
        "password",
        PasswordChangeView.as_view(template_name="workspace/password.html", success_url="/"),
        name="password",
    ),
    path("workspace", workspaces.switch, name="switch_workspace"),
    path("keys", keys.keys, name="keys"),
    path("keys/<uuid:key_id>/revoke", keys.revoke, name="revoke_key"),
    path("providers", providers.providers, name="providers"),
    path("providers/<uuid:credential_id>/verify", providers.verify_credential, name="verify_credential"),
    path("providers/<uuid:credential_id>/remove", providers.remove_credential, name="remove_credential"),
    path("members", members.members, name="members"),
    path("members/invitations/<uuid:invitation_id>/revoke", invitations.revoke_invitation, name="revoke_invitation"),
    path("invitations/<str:token>", invitations.invitation, name="invitation"),
    path("members/<int:member_id>", members.change_member, name="change_member"),
]
