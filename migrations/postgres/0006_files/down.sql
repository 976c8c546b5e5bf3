DROP TABLE chat_files;
DROP TABLE file_chunks;
DROP TABLE files;
