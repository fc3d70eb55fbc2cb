"""The JSON API: routes, what they take and what they answer."""
