"""Keys of zoo.cfg and properties that mean something in Apache ZooKeeper and change nothing here.

In: a key.  Out: whether it is one of them; the nearest key that is known, for a mistyped one.
Answers to QuorumPeerConfig.parseProperties and the table of settings in ZooKeeper's administrator's guide.

(1) Nobody is warned about these: a zoo.cfg that served Apache ZooKeeper is taken as it is.  They are named in one line
    of the log; one that promises something a user would notice missing (PROMISES) is a warning that says what is so.
(2) A key that ZooKeeper parses as a number or a switch must be one here too (INTEGERS, FLAGS), effect or not.
"""

from collections.abc import Iterable

# For ensembles: a server of one has no elections, no learners, no quorum connections.
_ENSEMBLE = """
connectToLearnerMasterLimit electionAlg electionPortBindRetry fastleader.maxNotificationInterval
fastleader.minNotificationInterval follower.skipLearnerRequestToNextProcessor forceSnapshotSync
forward_learner_requests_to_commit_processor_disabled initialize initLimit leader.closeSocketAsync
leader.ackLoggingFrequency leader.maxConcurrentDiffSyncs leader.maxConcurrentSnapSyncs leader.maxTimeToWaitForEpoch
leaderConnectDelayDuringRetryMs leaderServes learner.asyncSending learner.closeSocketAsync localSessionsEnabled
localSessionsUpgradingEnabled multiAddress.enabled multiAddress.reachabilityCheckEnabled
multiAddress.reachabilityCheckTimeoutMs observer.election.DelayMs observer.reconnectDelayMs observer.syncEnabled
observerMaster.sizeLimit observerMasterPort oraclePath peerType quorum.auth.enableSasl
quorum.auth.kerberos.servicePrincipal quorum.auth.learner.saslLoginContext quorum.auth.learnerRequireSasl
quorum.auth.server.saslLoginContext quorum.auth.serverRequireSasl quorum.cnxn.threads.size quorumCnxnTimeoutMs
quorumListenOnAllIPs portUnification readonlymode.enabled skipLearnerRequestToNextProcessor snapshotSizeFactor
standaloneEnabled syncEnabled syncLimit cnxTimeout version commitLogCount maxWriteQueuePollTime
sslQuorumReloadCertFiles tcpKeepAlive follower.nodelay leader.nodelay
connection_throttle_local_session_weight
"""
# How Java's threads, queues and caches are cut, what its logging and its Kerberos need: nothing of it here.
_MACHINERY = """
admin.httpVersion admin.restore.enabled advancedFlowControlEnabled bitHashCacheSize closeSessionTxn.enabled
commitProcessor.maxCommitBatchSize commitProcessor.maxReadBatchSize commitProcessor.numWorkerThreads
commitProcessor.shutdownTimeout configuration controllerPort enableEagerACLCheck fips-mode flushDelay
intBufferStartingSizeBytes jmx.enable jmx.log4j.disable jmx.log4j.mbean jute.maxbuffer.extrasize jvmPauseMonitor
jvm.pause.info-threshold.ms jvm.pause.monitor jvm.pause.sleep.time.ms jvm.pause.warn-threshold.ms
kerberos.canonicalizeHostNames kerberos.removeHostFromPrincipal kerberos.removeRealmFromPrincipal kinit
maxBatchSize maxGetChildrenResponseCacheSize maxInProcessingDeadWatchers maxResponseCacheSize messageTracker.BufferSize
messageTracker.Enabled metricsProvider.exportJvmInfo metricsProvider.maxQueueSize metricsProvider.numWorkerThreads
metricsProvider.workerShutdownTimeoutMs netty.advancedFlowControl.enabled nio.directBufferBytes nio.numSelectorThreads
nio.numWorkerThreads nio.shutdownTimeout pathStats.delay pathStats.enabled pathStats.initialDelay pathStats.maxDepth
pathStats.sampleRate pathStats.slotCapacity pathStats.slotDuration pathStats.topPathMax request_stale_connection_check
request_stale_latency_check request_throttle_drop_stale request_throttle_stall_time request_throttler.shutdownTimeout
requireKerberosConfig security.auth_to_local serializeLastProcessedZxid.enabled server.realm serverCnxnFactory
sessionTracker.expiryRounding serverSnapshotCompression snapshot.compression.stream.mode snapshot.trust.empty
snapsync.scheduler ssl.handshakeDetectionTimeoutMillis ssl.sslProvider test.allowDiscontinuousProposals
testingonly.initialZxid watchManagerName watcherCleanIntervalInSeconds watcherCleanThreadsNum watcherCleanThreshold
"""
IGNORED = frozenset(_ENSEMBLE.split()) | frozenset(_MACHINERY.split())

PROMISES = {
    "db.autocreate": "an empty data directory is a new database",
    "sslQuorum": "there is no quorum to encrypt",
    "throttled_op_wait_time": "no request is refused with -127; those that must wait do so in their sockets",
    "largeRequestThreshold": "requests are limited by jute.maxbuffer only",
    "largeRequestMaxBytes": "requests are limited by jute.maxbuffer only",
    "ssl.allowReverseDnsLookup": "a certificate must name the address itself; no DNS is asked",
    "IPAuthenticationProvider.usexforwardedfor": "no header says who a client is",
}
"""Keys without effect that promise something, and what is so instead; said once each when they are switched on."""

_INTEGERS = """
initLimit syncLimit connectToLearnerMasterLimit electionAlg observerMasterPort quorum.cnxn.threads.size
multiAddress.reachabilityCheckTimeoutMs
"""
_FLAGS = """
localSessionsEnabled localSessionsUpgradingEnabled quorumListenOnAllIPs syncEnabled standaloneEnabled sslQuorum
portUnification sslQuorumReloadCertFiles quorum.auth.enableSasl quorum.auth.serverRequireSasl
quorum.auth.learnerRequireSasl multiAddress.enabled multiAddress.reachabilityCheckEnabled readonlymode.enabled
"""
INTEGERS, FLAGS = tuple(_INTEGERS.split()), tuple(_FLAGS.split())

# Names under which the administrator's guide lists settings, and the properties that are read.
_GUIDE_NAMES = {
    "connectionMaxTokens": "connection_throttle_tokens",
    "connectionTokenFillTime": "connection_throttle_fill_time",
    "connectionTokenFillCount": "connection_throttle_fill_count",
    "connectionFreezeTime": "connection_throttle_freeze_time",
    "connectionDropIncrease": "connection_throttle_drop_increase",
    "connectionDropDecrease": "connection_throttle_drop_decrease",
    "connectionDecreaseRatio": "connection_throttle_decrease_ratio",
    "requestThrottleLimit": "request_throttle_max_requests",
    "requestThrottleStallTime": "request_throttle_stall_time",
    "requestThrottleDropStale": "request_throttle_drop_stale",
    "requestStaleLatencyCheck": "request_stale_latency_check",
    "requestStaleConnectionCheck": "request_stale_connection_check",
    "throttledOpWaitTime": "throttled_op_wait_time",
    "outstandingHandshake.limit": "netty.server.outstandingHandshake.limit",
    "maxConcurrentSnapSyncs": "leader.maxConcurrentSnapSyncs",
    "maxConcurrentDiffSyncs": "leader.maxConcurrentDiffSyncs",
    "maxTimeToWaitForEpoch": "leader.maxTimeToWaitForEpoch",
}

_PREFIXES = ("group.", "weight.", "ssl.quorum.", "jvm.", "quorum.auth.", "metricsProvider.ssl.")
# What a JVM is told on its command line and no ZooKeeper server reads.
_JVM = ("java.", "javax.", "jdk.", "sun.", "com.sun.", "logback.", "log4j", "org.", "io.netty.", "user.", "file.")


def is_ignored(key: str) -> bool:
    """Whether `key` (without "zookeeper.") is known and without effect."""
    return key in IGNORED or key in PROMISES or key.startswith(_PREFIXES) or key.startswith(_JVM)


def nearest(key: str, known: Iterable[str]) -> str | None:
    """The known key that `key` is probably meant to be."""
    import difflib  # a start without a mistake in its settings does not need it

    if key in _GUIDE_NAMES:
        return _GUIDE_NAMES[key]
    by_lower = {each.lower(): each for each in (*known, *IGNORED, *PROMISES)}
    if key.lower() in by_lower:
        return by_lower[key.lower()]
    close = difflib.get_close_matches(key.lower(), by_lower, n=1, cutoff=0.8)
    return by_lower[close[0]] if close else None
