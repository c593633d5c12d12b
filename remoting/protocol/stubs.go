package protocol

import "errors"

var errStub = errors.New("not built yet")

func appendJSONString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// Decode reads a frame without its length prefix into c.
func (c *Command) Decode(frame []byte, lim Limits) error { return errStub }

// AppendFrame appends the whole frame of the command.
func (c *Command) AppendFrame(dst []byte) ([]byte, error) { return dst, errStub }

// AppendStandardJSON appends the route with quoted broker ids.
func (r *TopicRouteData) AppendStandardJSON(dst []byte) []byte { return dst }

// AppendListJSON appends the list form that C++ clients read.
func (b *ResetOffsetBody) AppendListJSON(dst []byte) []byte { return dst }

// AppendCompressed appends the zlib form.
func (b *RegisterBrokerBody) AppendCompressed(dst []byte) ([]byte, error) { return dst, errStub }

// DecodeCompressed reads the zlib form.
func (b *RegisterBrokerBody) DecodeCompressed(body []byte) error { return errStub }

// Equal reports whether two versions are the same.
func (v DataVersion) Equal(o DataVersion) bool { return v == o }

// AppendJSON appends the body.
func (b *TopicRouteData) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *TopicRouteData) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ClusterInfo) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ClusterInfo) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *TopicList) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *TopicList) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *KVTable) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *KVTable) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *DataVersion) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *DataVersion) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *TopicConfig) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *TopicConfig) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *TopicConfigSerializeWrapper) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *TopicConfigSerializeWrapper) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *RegisterBrokerBody) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *RegisterBrokerBody) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *SubscriptionGroupConfig) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *SubscriptionGroupConfig) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *SubscriptionGroupWrapper) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *SubscriptionGroupWrapper) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *SubscriptionData) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *SubscriptionData) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *HeartbeatData) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *HeartbeatData) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *MessageQueue) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *MessageQueue) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *LockBatchRequest) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *LockBatchRequest) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *LockBatchResponse) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *LockBatchResponse) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ConsumerList) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ConsumerList) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *CheckClientRequest) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *CheckClientRequest) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *TopicStatsTable) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *TopicStatsTable) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ConsumeStats) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ConsumeStats) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ConsumeStatsList) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ConsumeStatsList) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ResetOffsetBody) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ResetOffsetBody) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *GetConsumerStatusBody) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *GetConsumerStatusBody) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ConsumerConnection) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ConsumerConnection) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ProducerConnection) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ProducerConnection) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ProducerTableInfo) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ProducerTableInfo) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *GroupList) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *GroupList) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ConsumeTimeSpanBody) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ConsumeTimeSpanBody) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *BrokerStatsData) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *BrokerStatsData) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ConsumeQueueBody) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ConsumeQueueBody) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *OffsetTable) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *OffsetTable) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *DelayOffsets) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *DelayOffsets) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *CorrectionOffsets) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *CorrectionOffsets) Decode(body []byte) error { return errStub }

// AppendJSON appends the body.
func (b *ConsumeDirectlyResult) AppendJSON(dst []byte) []byte { return dst }

// Decode reads the body.
func (b *ConsumeDirectlyResult) Decode(body []byte) error { return errStub }
