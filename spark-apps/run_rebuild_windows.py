"""What spark-submit is given to run rebuild-windows."""

from stream_analytics.rebuild_main import main

if __name__ == "__main__":
    main()
