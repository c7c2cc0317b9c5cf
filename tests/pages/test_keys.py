from tests.pages.conftest import SignIn
from workspace.models import ApiKey, AuditEntry, Role

KEY = {"name": "Support bot", "env": "prod"}


def test_a_key_is_shown_once(browse: SignIn) -> None:
    admin = browse(Role.ADMIN)
    answer = admin.post("/keys", {**KEY, "credit_limit_pence": "250", "credit_limit_reset_period": "monthly"})
    key = ApiKey.objects.get()
    secret = answer.context["secret"]
    assert secret in answer.content.decode()
    assert ApiKey.find(secret) == key
    assert (key.credit_limit_pence, key.credit_limit_reset_period) == (250, "monthly")
    assert secret not in admin.get("/keys").content.decode()
    assert "no-store" in answer.headers["cache-control"]
    assert AuditEntry.objects.get().action == "api_key.create"


def test_what_is_wrong_is_said_beside_its_field(browse: SignIn) -> None:
    admin = browse(Role.ADMIN)
    for wrong, message in (
        ({"name": ""}, "may not be blank"),
        ({"expires_in_days": "never"}, "valid integer is required"),
        ({"ip_allowlist": "nowhere"}, "such as 192.0.2.7"),
        ({"credit_limit_reset_period": "daily"}, "needs a credit_limit_pence"),
    ):
        answer = admin.post("/keys", {**KEY, **wrong})
        assert answer.status_code == 400
        text = answer.content.decode()
        field = next(iter(wrong))
        assert message in text.split(f'id="{field}-problem"')[1][:200]
    assert not ApiKey.objects.exists()


def test_a_revoked_key_stays_in_the_list(browse: SignIn) -> None:
    admin = browse(Role.ADMIN)
    admin.post("/keys", KEY)
    key = ApiKey.objects.get()
    assert admin.post(f"/keys/{key.pk}/revoke").status_code == 302
    key.refresh_from_db()
    assert key.status == "revoked"
    assert "Support bot is revoked." in admin.get("/keys").content.decode()
