package message

// Bits of sysFlag, named after RocketMQ's MessageSysFlag.
const (
	// SysFlagCompressed: the producer compressed the body; consumers undo it.
	SysFlagCompressed = 0x1
	// SysFlagMultiTags: the topic's filter type is MULTI_TAG.
	SysFlagMultiTags = 0x2

	// SysFlagTransactionMask selects the two transaction bits; 0 means none.
	SysFlagTransactionMask     = 0xC
	SysFlagTransactionPrepared = 0x4
	SysFlagTransactionCommit   = 0x8
	SysFlagTransactionRollback = 0xC

	// SysFlagBornHostV6 and SysFlagStoreHostV6 widen the two host fields to 16
	// address bytes. AppendStored sets and clears them.
	SysFlagBornHostV6  = 0x10
	SysFlagStoreHostV6 = 0x20

	// SysFlagCompressionMask selects how a compressed body was compressed; 0 is
	// zlib as older clients write it.
	SysFlagCompressionMask = 0x700
	SysFlagCompressionLZ4  = 0x100
	SysFlagCompressionZstd = 0x200
	SysFlagCompressionZlib = 0x300
)

// Names of properties with a meaning to clients or broker, as RocketMQ's
// MessageConst has them.
const (
	PropertyKeys                  = "KEYS"                           // user keys, separated by spaces
	PropertyTags                  = "TAGS"                           // the one tag
	PropertyWaitStoreMsgOK        = "WAIT"                           // "true" or "false"
	PropertyDelayTimeLevel        = "DELAY"                          // delay level, 1…18
	PropertyRetryTopic            = "RETRY_TOPIC"                    // original topic of a retried message
	PropertyRealTopic             = "REAL_TOPIC"                     // original topic of a delayed or half message
	PropertyRealQueueID           = "REAL_QID"                       // and its queue
	PropertyTransactionPrepared   = "TRAN_MSG"                       // "true" on half messages
	PropertyProducerGroup         = "PGROUP"                         // whom to ask about a half message
	PropertyMinOffset             = "MIN_OFFSET"                     // filled by consumers
	PropertyMaxOffset             = "MAX_OFFSET"                     // filled by consumers
	PropertyBuyerID               = "BUYER_ID"                       // reserved
	PropertyOriginMessageID       = "ORIGIN_MESSAGE_ID"              // id of a retried message's first delivery
	PropertyTransferFlag          = "TRANSFER_FLAG"                  // reserved
	PropertyCorrectionFlag        = "CORRECTION_FLAG"                // reserved
	PropertyMQ2Flag               = "MQ2_FLAG"                       // reserved
	PropertyReconsumeTime         = "RECONSUME_TIME"                 // client's fallback send-back
	PropertyMaxReconsumeTimes     = "MAX_RECONSUME_TIMES"            // client's fallback send-back
	PropertyMsgRegion             = "MSG_REGION"                     // region id
	PropertyTraceSwitch           = "TRACE_ON"                       // "true" or "false"
	PropertyUniqKey               = "UNIQ_KEY"                       // the message id made by the client
	PropertyConsumeStartTime      = "CONSUME_START_TIME"             // local to consumers
	PropertyTranPreparedOffset    = "TRAN_PREPARED_QUEUE_OFFSET"     // half queue bookkeeping
	PropertyTransactionCheckTimes = "TRANSACTION_CHECK_TIMES"        // check-backs so far
	PropertyCheckImmunityTime     = "CHECK_IMMUNITY_TIME_IN_SECONDS" // no check-back before
	PropertyInstanceID            = "INSTANCE_ID"                    // namespace
	PropertyCorrelationID         = "CORRELATION_ID"                 // request-reply
	PropertyReplyToClient         = "REPLY_TO_CLIENT"                // request-reply
	PropertyMessageTTL            = "TTL"                            // request-reply
	PropertyReplyArriveTime       = "ARRIVE_TIME"                    // request-reply
	PropertyPushReplyTime         = "PUSH_REPLY_TIME"                // request-reply
	PropertyMessageType           = "MSG_TYPE"                       // request-reply: "reply"
	PropertyCluster               = "CLUSTER"                        // added by the broker to every message
	PropertyInnerMultiDispatch    = "INNER_MULTI_DISPATCH"           // light queues
	PropertyInnerMultiQueueOffset = "INNER_MULTI_QUEUE_OFFSET"       // light queues
	PropertyTimerDeliverMS        = "TIMER_DELIVER_MS"               // when to deliver, unix ms
	PropertyTimerDelaySec         = "TIMER_DELAY_SEC"                // after how long, in seconds
	PropertyTimerDelayMS          = "TIMER_DELAY_MS"                 // after how long, in ms
	PropertyTimerOutMS            = "TIMER_OUT_MS"                   // when it is due, set by the broker
	PropertyTimerDelete           = "TIMER_DEL_UNIQKEY"              // takes back the timed message with this id
	PropertyShardingKey           = "__SHARDINGKEY"                  // what decided the queue of an ordered message
	PropertyStartDeliverTime      = "__STARTDELIVERTIME"             // read by trace only
)

// Topics with a meaning of their own.
const (
	TopicAutoCreate        = "TBW102"                // template of auto-created topics
	TopicAutoCreate43      = "AUTO_CREATE_TOPIC_KEY" // what Java clients 4.3 call it; no topic has this name
	TopicSchedule          = "SCHEDULE_TOPIC_XXXX"
	TopicTransHalf         = "RMQ_SYS_TRANS_HALF_TOPIC"
	TopicTransOpHalf       = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
	TopicTransCheckMaxTime = "TRANS_CHECK_MAX_TIME_TOPIC"
	TopicTrace             = "RMQ_SYS_TRACE_TOPIC"
	TopicSelfTest          = "SELF_TEST_TOPIC"
	TopicBenchmark         = "BenchmarkTest"
	TopicOffsetMoved       = "OFFSET_MOVED_EVENT"

	// TopicSystemPrefix begins reserved names, RetryPrefix and DLQPrefix the
	// two topics every consumer group may have, ReplySuffix the reply topic of a
	// cluster.
	TopicSystemPrefix = "rmq_sys_"
	RetryPrefix       = "%RETRY%"
	DLQPrefix         = "%DLQ%"
	ReplySuffix       = "_REPLY_TOPIC"
)
