// Package message is what a message is: its fields, its properties, its flags,
// the ids made from its position, and the bytes it is stored as.
//
// The stored form (RocketMQ's commit-log record, format V1) is what producers'
// messages become in a Raft entry, what lies on disk, and what a pull response
// carries; there is no second encoding. All integers are big-endian and nothing
// is padded:
//
//	 0  u32 totalSize        whole record, this field included
//	 4  u32 magic            0xDAA320A7
//	 8  u32 bodyCRC          CRC-32 (IEEE) of the stored body & 0x7FFFFFFF
//	12  i32 queueId
//	16  i32 flag             the user's
//	20  i64 queueOffset      0 on disk, patched when read (PatchOffsets)
//	28  i64 physicalOffset   0 on disk, patched when read
//	36  i32 sysFlag
//	40  i64 bornTimestamp    ms
//	48  bornHost             4 (or 16, SysFlagBornHostV6) address bytes + i32 port
//	 .  i64 storeTimestamp   ms, stamped with the group time (StoreTimestampPos)
//	 .  storeHost            4 (or 16, SysFlagStoreHostV6) address bytes + i32 port
//	 .  i32 reconsumeTimes
//	 .  i64 preparedTransactionOffset
//	 .  i32 length + body
//	 .  u8  length + topic        1..127 bytes
//	 .  i16 length + properties   0..32767 bytes: k 0x01 v 0x02 k 0x01 v …
//
// Invariants:
//
//   - A Stored value made by ParseStored or ViewStored has been checked in every
//     internal length, so its accessors neither panic nor allocate.
//   - Decoders accept any bytes and never panic or allocate by a length they
//     have not compared with what they were given.
//   - The package imports nothing of ours, so that every other package may
//     speak of messages and positions.
package message
