"""Why no table grows without bound. tests/test_growth.py demands an entry for every table.

`SHRUNK` names the recurring job that deletes what is over. `BOUNDED` says what the number of rows is bounded by: a
number per row of another table, what operators or the code make, or the history that people keep until they delete it.
"""

SHRUNK = {
    "accounts_invitation": "housekeeping",
    "accounts_user": "housekeeping",
    "alerts": "prune_alerts",
    "django_admin_log": "housekeeping",
    "django_session": "housekeeping",
    "events": "prune_events",
    "incidents": "prune_events",
    "metric_levels": "cleanup_metrics",
    "metric_samples": "cleanup_metrics",
    "past_deployments": "backfill_sweep",
    "notification_deliveries": "prune_events",
    "otlp_states": "prune_pushed",
    "pushed_samples": "prune_pushed",
    "rate_counters": "forget_counters",
    "running_totals": "fold_totals",
    "sample_places": "cleanup_metrics",
    "scheduled_jobs": "prune_jobs",
    "used_nonces": "forget_nonces",
    "usersessions_usersession": "housekeeping",
}

BOUNDED = {
    # Per account. Accounts that never came in are deleted; the others are people.
    "account_emailaddress": "ten per account (ACCOUNT_MAX_EMAIL_ADDRESSES)",
    "mfa_authenticator": "per account: an app, a set of recovery codes, and so many passkeys (MOST_PASSKEYS)",
    "socialaccount_socialaccount": "one per account at a provider, which is connected to one account here",
    "accounts_team": "made by people, 60 an hour and user at most (limit `making`); deleted by them (remove_deleted)",
    "projects_freeze": "made by people, 60 an hour and user at most (limit `making`); deleted with their team",
    "public_links": "made by people, 20 a project at most (dashboard/public/links.py); deleted by them",
    "mail_recipients": "20 a channel at most; new ones are asked at a bounded rate (notifications/recipients.py)",
    "notification_channels": "made by people, 60 an hour and user at most (limit `making`); deleted by them",
    "accounts_membership": "one per user and team",
    # Nobody writes these.
    "account_emailconfirmation": "empty: links to verify an address are signed, not stored",
    "socialaccount_socialapp": "empty: providers are in the settings",
    "socialaccount_socialtoken": "empty: tokens of providers are not stored (SOCIALACCOUNT_STORE_TOKENS)",
    # Made by operators or by the code.
    "accounts_user_groups": "made by operators",
    "accounts_user_user_permissions": "made by operators",
    "auth_group": "made by operators",
    "auth_group_permissions": "made by operators",
    "auth_permission": "a few per model",
    "django_content_type": "one per model",
    "django_migrations": "one per migration",
    "pollers": "one per poller; a starting poller deletes those that have been silent for a day",
    "restore_trials": "one row",
    "own_requests": "three minutes: each web process deletes what is older (seqpulse/observability/own_requests.py)",
    # Made by members of a team, who delete it with its environment or project (remove_deleted).
    "projects_project": "made by people, 60 an hour and user at most (limit `making`)",
    "projects_environment": "made by people, 60 an hour and user at most (limit `making`)",
    "projects_apikey": "made by people, 60 an hour and user at most (limit `making`)",
    "alert_tokens": "one per source",
    "metric_sources": "made by people, ten an environment at most (MOST_SOURCES); deleted with their environment",
    "source_states": "one per source and group of instances, of some ten thousand bytes; deleted with its source",
    "projects_excludedwindow": "made by people, one at a time",
    "projects_policyversion": "one per change of a policy by people (limit `judging`)",
    "environment_standings": "one per environment",
    # The history of deployments, kept until their project is deleted: 100 calls a minute and key at most.
    "deployments": "one per deployment of a pipeline",
    "deployment_keys": "one per call of a pipeline with a new key",
    "deployment_verdicts": "one per deployment",
    "deployment_steps": "a hundred per deployment at most: each has more per cent than the one before",
    "sdh_hints": "a few per verdict",
    "acknowledgements": "made by people, a hundred per deployment at most",
    "rollback_policies": "one per environment",
    "rollback_attempts": "one per deployment",
    "verdict_feedback": "one per verdict",
}
