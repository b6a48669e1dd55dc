"""Ask both ports whether they are up."""

import os
import ssl

import httpx

trust = ssl.create_default_context(cafile=os.environ["CA_FILE"])
for url in (os.environ["BASE_URL"], os.environ["UPLOAD_URL"]):
    print(httpx.get(url + "/test", verify=trust).text)
