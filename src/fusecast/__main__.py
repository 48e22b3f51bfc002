from fusecast.cli.app import main

main()
