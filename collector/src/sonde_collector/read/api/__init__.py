"""The read API: what is declared once checks parameters, shapes answers and writes the OpenAPI document."""
