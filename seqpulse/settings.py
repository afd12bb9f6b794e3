"""Django settings. Everything that differs between installations comes from the environment (docs/settings.md)."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from seqpulse import environment as env
from seqpulse.devserver.keys import generated_keys
from seqpulse.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent
ENVIRONMENT = Environment()

DEBUG = ENVIRONMENT.boolean("DEBUG", False)
SEQPULSE_DATA_DIR = ENVIRONMENT.directory("SEQPULSE_DATA_DIR", BASE_DIR / "var")

# Without DATABASE_URL SeqPulse runs for evaluation: embedded server, generated keys.
EMBEDDED_DATABASE = not ENVIRONMENT.text("DATABASE_URL")


def required_key(name: str) -> str:
    """Return a key from the environment; generated only for evaluation and debugging."""
    value = ENVIRONMENT.text(name)
    if value:
        return value
    if EMBEDDED_DATABASE or DEBUG:
        return generated_keys(SEQPULSE_DATA_DIR)[name]
    raise ImproperlyConfigured(
        f"{name} is not set. Production (DATABASE_URL is set, DEBUG is off) needs its own: see docs/settings.md."
    )


SECRET_KEY = required_key("SECRET_KEY")
SEQPULSE_ENCRYPTION_KEYS = env.comma_separated(required_key("SEQPULSE_ENCRYPTION_KEYS"))

ALLOWED_HOSTS = ENVIRONMENT.many("ALLOWED_HOSTS", env.comma_separated) or (
    ["*"] if DEBUG else ["localhost", "127.0.0.1", "[::1]"]
)
CSRF_TRUSTED_ORIGINS = ENVIRONMENT.many("CSRF_TRUSTED_ORIGINS", env.origins)
SEQPULSE_TRUSTED_PROXIES = ENVIRONMENT.many("SEQPULSE_TRUSTED_PROXIES", env.networks)

SEQPULSE_SAMPLE_INTERVAL_SECONDS = ENVIRONMENT.typed("SEQPULSE_SAMPLE_INTERVAL_SECONDS", 60.0, env.SampleInterval)
# Plans are a means of operators who serve others; without them, pages do not mention plans.
SEQPULSE_PLANS = ENVIRONMENT.boolean("SEQPULSE_PLANS", False)
# None: what the project's plan gives.
SEQPULSE_BASELINE_INTERVAL_SECONDS = ENVIRONMENT.typed("SEQPULSE_BASELINE_INTERVAL_SECONDS", None, env.BaselineInterval)
SEQPULSE_METRICS_TOKEN = ENVIRONMENT.text("SEQPULSE_METRICS_TOKEN")
SEQPULSE_METRICS_NETWORKS = ENVIRONMENT.many("SEQPULSE_METRICS_NETWORKS", env.networks)
SEQPULSE_ABANDON_AFTER_HOURS = ENVIRONMENT.typed("SEQPULSE_ABANDON_AFTER_HOURS", 24.0, env.Hours)
SEQPULSE_OUTBOUND_ALLOW = ENVIRONMENT.text("SEQPULSE_OUTBOUND_ALLOW")
SEQPULSE_SHOW_INTERNAL_ANSWERS = ENVIRONMENT.boolean("SEQPULSE_SHOW_INTERNAL_ANSWERS", False)

# Counted exactly across processes and hosts (security/counting.py); "off" is for tests and load tests.
SEQPULSE_RATE_LIMITS = ENVIRONMENT.boolean("SEQPULSE_RATE_LIMITS", True)
SEQPULSE_RATES = {
    "login": ENVIRONMENT.rate("SEQPULSE_RATE_LOGIN", "5/m"),
    "ds-metrics": ENVIRONMENT.rate("SEQPULSE_RATE_DS_METRICS", "10/m"),
    "deployments": ENVIRONMENT.rate("SEQPULSE_RATE_DEPLOYMENTS", "100/m"),
    "samples": ENVIRONMENT.rate("SEQPULSE_RATE_SAMPLES", "1200/m"),
    "alerts": ENVIRONMENT.rate("SEQPULSE_RATE_ALERTS", "600/m"),
    "api": ENVIRONMENT.rate("SEQPULSE_RATE_API", "1000/h"),
    "dashboard": ENVIRONMENT.rate("SEQPULSE_RATE_DASHBOARD", "1000/m"),
    "probe": ENVIRONMENT.rate("SEQPULSE_RATE_PROBE", "10/m"),
    "invitation": ENVIRONMENT.rate("SEQPULSE_RATE_INVITATION", "60/h"),
    "making": ENVIRONMENT.rate("SEQPULSE_RATE_MAKING", "60/h"),
    "judging": ENVIRONMENT.rate("SEQPULSE_RATE_JUDGING", "30/m"),
    "download": ENVIRONMENT.rate("SEQPULSE_RATE_DOWNLOAD", "10/m"),
    "public": ENVIRONMENT.rate("SEQPULSE_RATE_PUBLIC", "120/m"),
    "slack": ENVIRONMENT.rate("SEQPULSE_RATE_SLACK", "120/m"),
}
SEQPULSE_DS_METRICS_SECRET = ENVIRONMENT.text("SEQPULSE_DS_METRICS_SECRET")
REDIS_URL = ENVIRONMENT.read("REDIS_URL", "", env.redis)
RATELIMIT_USE_CACHE = "counters"
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "counters": {
        "BACKEND": "security.counting.RedisCounters" if REDIS_URL else "security.counting.PostgresCounters",
        "LOCATION": "rate_counters",
        "OPTIONS": {"redis_url": REDIS_URL},
    },
}

# For `make run` and gunicorn (seqpulse/gunicorn_config.py).
SEQPULSE_BIND = ENVIRONMENT.text("SEQPULSE_BIND", "127.0.0.1")
SEQPULSE_PORT = ENVIRONMENT.typed("PORT", 8000, env.Port)
SEQPULSE_WEB_CONCURRENCY = ENVIRONMENT.typed("WEB_CONCURRENCY", 2, env.Workers)
# Calls and open pages that wait in one web process.
SEQPULSE_WAITING_MAX = ENVIRONMENT.typed("SEQPULSE_WAITING_MAX", 4000, env.Places)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.github",
    "allauth.socialaccount.providers.google",
    "csp",
    "django_filters",
    "django_htmx",
    "django_prometheus",
    "django_structlog",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "events",
    "seqpulse",
    "accounts",
    "projects",
    "scheduler",
    "deployments",
    "metrics",
    "analysis",
    "notifications",
    "dashboard",
]

# For pages, and for what people and monitoring read without an API key. Calls by API keys take the way below.
MIDDLEWARE = [
    "seqpulse.stacks.ApiStackMiddleware",
    "seqpulse.observability.http_metrics.HttpMetricsMiddleware",
    "seqpulse.observability.request_logging.LogMiddleware",
    "seqpulse.middleware.GateMiddleware",
    "seqpulse.middleware.DatabaseAwayMiddleware",
    "seqpulse.middleware.HealthByAddressMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "seqpulse.middleware.PageCompressionMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "seqpulse.observability.own_requests.RequestRecorderMiddleware",
    "seqpulse.middleware.SessionMiddleware",
    "seqpulse.preferences.LanguageMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "seqpulse.limits.RateLimitMiddleware",
    "seqpulse.preferences.PreferencesMiddleware",
    "seqpulse.activity.ActivityMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "seqpulse.middleware.AccountPagesMiddleware",
    "seqpulse.middleware.WrongMethodMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# Under seqpulse.api.API_CALLS: without sessions, users, templates, forms.
API_MIDDLEWARE = [
    "seqpulse.observability.http_metrics.HttpMetricsMiddleware",
    "seqpulse.observability.request_logging.ApiLogMiddleware",
    "seqpulse.middleware.GateMiddleware",
    "seqpulse.stacks.ApiHeadersMiddleware",
    "seqpulse.middleware.DatabaseAwayMiddleware",
    "seqpulse.observability.own_requests.RequestRecorderMiddleware",
    "seqpulse.usual_calls.UsualCallsMiddleware",
    "seqpulse.limits.RateLimitMiddleware",
]

ROOT_URLCONF = "seqpulse.urls"
WSGI_APPLICATION = "seqpulse.wsgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "seqpulse.preferences.preferences",
            ],
        },
    },
]

# The embedded server's socket is where seqpulse.devserver.embedded puts it; naming it here starts nothing.
if EMBEDDED_DATABASE:
    from seqpulse.devserver.embedded import dsn_parameters

    _database: dict[str, object] = {"ENGINE": "django.db.backends.postgresql", **dsn_parameters(SEQPULSE_DATA_DIR)}
else:
    _database = ENVIRONMENT.read("DATABASE_URL", {"NAME": "seqpulse"}, env.database)
_given_options: dict[str, Any] = _database.get("OPTIONS", {})  # type: ignore[assignment]
DATABASES = {
    "default": {
        **_database,
        # Counts statements, errors and connections, measures statements (/metrics), prepares the most frequent ones.
        "ENGINE": "common.database",
        # Connecting costs 2.7 ms: keep connections, and look whether one is still open before a request or job batch
        # uses it again.
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        # Detect an unreachable server within half a minute instead of TCP's quarter of an hour.
        "OPTIONS": {
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            "prepare": ENVIRONMENT.typed("SEQPULSE_PREPARED_STATEMENTS", "auto", env.Prepared),
            **_given_options,
        },
    }
}
# Buckets for statements in seconds: ours take about a millisecond.
PROMETHEUS_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, float("inf"))
PROMETHEUS_EXPORT_MIGRATIONS = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# The first one checks all passwords; the others are those of sessions that began before it.
AUTHENTICATION_BACKENDS = [
    "accounts.backends.AccountBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
    "django.contrib.auth.backends.ModelBackend",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "dashboard:overview"
# Where people reach this installation: links in messages begin with it.
SEQPULSE_PUBLIC_URL = ENVIRONMENT.read("SEQPULSE_PUBLIC_URL", "", env.public_url)
SEQPULSE_SIGNUP_OPEN = ENVIRONMENT.boolean("SEQPULSE_SIGNUP_OPEN", False)
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "dashboard.accounts.forms.LoginForm",
    "signup": "dashboard.accounts.forms.SignupForm",
    "reset_password": "dashboard.accounts.forms.ResetPasswordForm",
    "add_email": "dashboard.accounts.forms.AddEmailForm",
}
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
# No user name: "taken" would reveal accounts. It is derived from the address and can be changed.
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
# Of those who sign up themselves; whom ops staff made comes in without (accounts/stages.py).
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
# An address that another account has not verified can be used to sign up; it belongs to the first to verify it.
ACCOUNT_PREVENT_ENUMERATION = "strict"
ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = 3
# Each is sent mail, and lets an account sign in.
ACCOUNT_MAX_EMAIL_ADDRESSES = 10
# Only in the browser that signed up, which then continues.
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[SeqPulse] "
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_SESSION_REMEMBER = True
# seqpulse/limits.py counts instead: exactly, over all processes and hosts, and on the address that is the caller's.
ACCOUNT_RATE_LIMITS = MFA_RATE_LIMITS = False
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_ADAPTER = "dashboard.accounts.mfa.MFAAdapter"
MFA_FORMS = {
    "authenticate": "dashboard.accounts.mfa.AuthenticateForm",
    "reauthenticate": "dashboard.accounts.mfa.ReauthenticateForm",
    "add_webauthn": "dashboard.accounts.mfa.AddPasskeyForm",
    "edit_webauthn": "dashboard.accounts.mfa.EditPasskeyForm",
    "authenticate_webauthn": "dashboard.accounts.mfa.AuthenticatePasskeyForm",
    "login_webauthn": "dashboard.accounts.mfa.LoginPasskeyForm",
    "reauthenticate_webauthn": "dashboard.accounts.mfa.ReauthenticatePasskeyForm",
}
MFA_TOTP_ISSUER = "SeqPulse"
# Accept a code half a minute early or late, for slow typing and clocks; once (dashboard/accounts/mfa.py).
MFA_TOTP_TOLERANCE = 1
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
# Safe, because an address was verified before the first sign-in, or entered by staff.
MFA_ALLOW_UNVERIFIED_EMAIL = True
SOCIALACCOUNT_ADAPTER = "accounts.social.SocialAdapter"
SOCIALACCOUNT_FORMS = {"signup": "dashboard.accounts.forms.SocialSignupForm"}
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {}
for _provider, _scope in (("github", ["read:user", "user:email"]), ("google", ["profile", "email"])):
    if _app := ENVIRONMENT.oauth(f"SEQPULSE_{_provider.upper()}"):
        SOCIALACCOUNT_PROVIDERS[_provider] = {"APPS": [_app], "SCOPE": _scope, "OAUTH_PKCE_ENABLED": True}

_console = {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}
# EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT, …
vars().update(ENVIRONMENT.read("SEQPULSE_EMAIL_URL", _console, env.mail_server))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENVIRONMENT.read("SEQPULSE_EMAIL_FROM", "SeqPulse <seqpulse@localhost>", env.sender)

LANGUAGE_CODE = "en"
# Each in its own language.
LANGUAGES = [("en", "English"), ("fr", "Français")]
FORMAT_MODULE_PATH = "seqpulse.formats"
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"

# The path under which a proxy offers SeqPulse. Cookies stay below it, because other services share the host name.
FORCE_SCRIPT_NAME = ENVIRONMENT.read("SCRIPT_NAME", "", env.script_name) or None
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = LANGUAGE_COOKIE_PATH = FORCE_SCRIPT_NAME or "/"
STATIC_URL = f"{FORCE_SCRIPT_NAME or ''}/static/"
STATIC_ROOT = ENVIRONMENT.directory("SEQPULSE_STATIC_ROOT", SEQPULSE_DATA_DIR / "static")
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# HTTPS if a trusted proxy says so; local installations use plain HTTP.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SEQPULSE_TRUSTED_PROXIES else None
_https = ENVIRONMENT.boolean("SEQPULSE_HTTPS", not (DEBUG or EMBEDDED_DATABASE))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = _https
LANGUAGE_COOKIE_AGE = 365 * 86400
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31536000 if _https else 0
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
# Redirecting is the proxy's task (W008); HSTS for subdomains is the domain owner's choice (W005, W021).
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]

PROVIDER_SITES = {"github": "https://github.com", "google": "https://accounts.google.com"}
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        # Targets of forms after redirects: sign-in providers.
        "form-action": ["'self'", *(PROVIDER_SITES[name] for name in SOCIALACCOUNT_PROVIDERS)],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
# A commit message is only shown and must not refuse a call: a pipeline passes at most 128 KiB as one argument, and JSON
# may write each of its letters as six.
SEQPULSE_API_BODY_MAX_BYTES = 512 * 1024

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["projects.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["seqpulse.api.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "seqpulse.api.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_FILTER_BACKENDS": ["common.listing.KnownParametersBackend"],
    "EXCEPTION_HANDLER": "seqpulse.api.exception_handler",
    "UNAUTHENTICATED_USER": None,
    # Escaped, because an error may quote a lone surrogate.
    "UNICODE_JSON": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "SeqPulse API",
    "DESCRIPTION": "Post-deployment verification: tell SeqPulse about a deployment, ask it for the verdict.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["seqpulse.openapi.with_descriptions"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "seqpulse.openapi.without_trailing_slashes",
        "seqpulse.openapi.with_errors",
    ],
    "ENUM_NAME_OVERRIDES": {
        "SeverityEnum": "analysis.models.Severity",
        "PipelineResultEnum": "deployments.models.PipelineResult",
        "StateEnum": "deployments.models.State",
        "CreationEnum": "deployments.serializers.CREATION",
        "RollbackStateEnum": "notifications.api.STATES",
    },
}

LOG_FORMAT = ENVIRONMENT.typed("LOG_FORMAT", "json", env.LogFormat)
LOG_LEVEL = ENVIRONMENT.typed("LOG_LEVEL", "info", env.LogLevel)
# seqpulse/limits.py adds the address, as seen through trusted proxies.
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
# And the user: django-structlog would load the session on every call, even without a database.
DJANGO_STRUCTLOG_USER_ID_FIELD = None
from seqpulse.observability.logging import configure_logging  # noqa: E402  (needs the two settings above)

LOGGING_CONFIG = None
LOGGING = configure_logging(LOG_FORMAT, LOG_LEVEL)
