import sys

from seqpulse.devserver.runner import main

sys.exit(main())
