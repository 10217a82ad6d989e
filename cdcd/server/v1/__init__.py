"""The admin API and the queue: `/v1`, JSON. Each module gives one group of routes and says of them what OpenAPI says."""
