"""Starts MONAI Label: ``python monailabel/serve.py start_server --app monailabel --studies FOLDER --host 127.0.0.1``.

By itself MONAI Label 0.8.5 lets every web page that the user has open talk to the server (CORS for all origins), and its
setting against that, MONAI_LABEL_CORS_ORIGINS, ends it with a TypeError. Here no other origin is allowed unless the setting
names it, and the setting works.
"""

from monailabel.config import settings

from monailabel.main import Main

#: Nobody's page; an empty list would mean everybody's.
NO_OTHER_ORIGIN = "http://127.0.0.1"

if __name__ == "__main__":
    named = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]
    settings.MONAI_LABEL_CORS_ORIGINS = named or [NO_OTHER_ORIGIN]
    Main().run()
