from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

urlpatterns = [
    path("admin/login/", RedirectView.as_view(pattern_name="sign_in", query_string=True)),
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include("workspace.api.urls")),
    path("", include("workspace.pages.urls")),
    path("", include("billing.urls")),
    path("", include("billing.dashboard.urls")),
    path("", include("inference.urls")),
    path("", include("inference.pages.urls")),
]
