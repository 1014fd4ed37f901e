"""The page and the HTTP interface of `siamedge track --web`: Starlette on uvicorn, no external hosts."""
