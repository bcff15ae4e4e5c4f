"""Keys of zoo.cfg and properties that mean something in Apache ZooKeeper and change nothing here.

In: a key.  Out: whether it is one of them; the nearest key that is known, for a mistyped one.
Answers to QuorumPeerConfig.parseProperties and the table of settings in ZooKeeper's administrator's guide.

(1) Nobody is warned about these: a zoo.cfg that served Apache ZooKeeper is taken as it is.  But one that asks for
    something a user would notice missing is told of (PROMISES).
"""

from collections.abc import Iterable

# For ensembles: a server of one has no elections, no learners, no quorum connections.
_ENSEMBLE = """
connectToLearnerMasterLimit electionAlg electionPortBindRetry fastleader.maxNotificationInterval
fastleader.minNotificationInterval follower.skipLearnerRequestToNextProcessor
forward_learner_requests_to_commit_processor_disabled initialize initLimit leader.closeSocketAsync
leader.ackLoggingFrequency leader.maxConcurrentDiffSyncs leader.maxConcurrentSnapSyncs leader.maxTimeToWaitForEpoch
leaderServes learner.asyncSending learner.closeSocketAsync learner.closeSocketAsync localSessionsEnabled
localSessionsUpgradingEnabled multiAddress.enabled multiAddress.reachabilityCheckEnabled
multiAddress.reachabilityCheckTimeoutMs observer.election.DelayMs observer.reconnectDelayMs observer.syncEnabled
observerMasterPort oraclePath peerType quorum.auth.enableSasl quorum.auth.kerberos.servicePrincipal
quorum.auth.learner.saslLoginContext quorum.auth.learnerRequireSasl quorum.auth.server.saslLoginContext
quorum.auth.serverRequireSasl quorum.cnxn.threads.size quorumCnxnTimeoutMs quorumListenOnAllIPs portUnification
readonlymode.enabled skipLearnerRequestToNextProcessor standaloneEnabled syncEnabled syncLimit cnxTimeout
ensembleAuthName version commitLogCount maxWriteQueuePollTime
"""
# How Java's threads, queues and caches are cut: there are none of them here.
_MACHINERY = """
advancedFlowControlEnabled bitHashCacheSize client.certReload client.portUnification clientTcpKeepAlive
commitProcessor.maxCommitBatchSize commitProcessor.maxReadBatchSize commitProcessor.numWorkerThreads
commitProcessor.shutdownTimeout closeSessionTxn.enabled digest.enabled emulate353TTLNodes enableEagerACLCheck fips-mode
flushDelay
intBufferStartingSizeBytes jute.maxbuffer.extrasize jvmPauseMonitor jvm.pause.info-threshold.ms jvm.pause.monitor
jvm.pause.sleep.time.ms jvm.pause.warn-threshold.ms kerberos.canonicalizeHostNames kerberos.removeHostFromPrincipal
kerberos.removeRealmFromPrincipal largeRequestMaxBytes largeRequestThreshold maxBatchSize
maxGetChildrenResponseCacheSize maxInProcessingDeadWatchers maxResponseCacheSize messageTracker.BufferSize
messageTracker.Enabled netty.advancedFlowControl.enabled netty.server.earlyDropSecureConnectionHandshakes
netty.server.outstandingHandshake.limit nio.directBufferBytes nio.numSelectorThreads nio.numWorkerThreads
nio.shutdownTimeout outstandingHandshake.limit request_stale_connection_check request_stale_latency_check
request_throttle_drop_stale request_throttle_max_requests request_throttle_stall_time request_throttler.shutdownTimeout
requestStaleConnectionCheck requestStaleLatencyCheck requestThrottleDropStale requestThrottleLimit
requestThrottleStallTime serializeLastProcessedZxid.enabled serverCnxnFactory snapSizeLimitInKb snapshot.trust.empty
snapshot.compression.method snapshot.compression.stream.mode snapsync.scheduler sslQuorumReloadCertFiles tcpKeepAlive
throttled_op_wait_time txnLogSizeLimitInKb watchManagerName watcherCleanIntervalInSeconds watcherCleanThreadsNum
watcherCleanThreshold znode.container.maxNeverUsedIntervalMs znode.container.maxPerMinute
jmx.enable jmx.log4j.disable serverSnapshotCompression sessionTracker.expiryRounding
admin.rateLimiterIntervalInMS admin.restore.enabled metricsProvider.exportJvmInfo metricsProvider.maxQueueSize
metricsProvider.numWorkerThreads metricsProvider.workerShutdownTimeoutMs IPAuthenticationProvider.usexforwardedfor
connection_throttle_decrease_ratio connection_throttle_drop_decrease connection_throttle_drop_increase
connection_throttle_fill_count connection_throttle_fill_time connection_throttle_freeze_time
connection_throttle_global_session_weight connection_throttle_local_session_weight
connection_throttle_renew_session_weight connection_throttle_tokens connection_throttle_weight_enabled
"""
IGNORED = frozenset(_ENSEMBLE.split()) | frozenset(_MACHINERY.split())

PROMISES = {
    "audit.enable": "no audit log is written",
    "sslQuorum": "there is no quorum to encrypt",
    "snapshot.compression.method": "snapshots are written plain (compressed ones are read)",
    "connection_throttle_tokens": "connections are limited by maxCnxns and maxClientCnxns only",
    "request_throttle_max_requests": "requests are limited by globalOutstandingLimit only",
    "largeRequestThreshold": "requests are limited by jute.maxbuffer only",
    "IPAuthenticationProvider.usexforwardedfor": "no header says who a client is",
}
"""Keys without effect that promise something, and what is so instead; said once each when they are switched on."""

_PREFIXES = ("group.", "weight.", "ssl.quorum.", "jvm.", "audit.", "quorum.auth.", "client.", "metricsProvider.ssl.")
# What a JVM is told on its command line and no ZooKeeper server reads.
_JVM = ("java.", "javax.", "jdk.", "sun.", "com.sun.", "logback.", "log4j", "org.", "io.netty.", "user.", "file.")


def is_ignored(key: str) -> bool:
    """Whether `key` (without "zookeeper.") is known and without effect."""
    return key in IGNORED or key in PROMISES or key.startswith(_PREFIXES) or key.startswith(_JVM)


def nearest(key: str, known: Iterable[str]) -> str | None:
    """The known key that `key` is probably meant to be."""
    import difflib  # a start without a mistake in its settings does not need it

    by_lower = {each.lower(): each for each in (*known, *IGNORED)}
    if key.lower() in by_lower:
        return by_lower[key.lower()]
    close = difflib.get_close_matches(key.lower(), by_lower, n=1, cutoff=0.8)
    return by_lower[close[0]] if close else None
