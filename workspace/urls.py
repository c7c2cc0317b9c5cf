from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from workspace.pages.device_login import device_login

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include("workspace.api.urls")),
    path("cli", device_login),
    path("cli/", device_login),
    path("", include("billing.urls")),
    path("", include("inference.urls")),
]
