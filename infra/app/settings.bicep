@description('The app settings that all kinds of hosting share.')
param clientId string

@description('Addresses of the storage account: blob, queue and table. A name would only do in the public cloud.')
param storageEndpoints object
param serviceBusHost string
param queues object
param redisHost string
param insightsConnectionString string

@description('Whether score_large_blob is on; an image has it off by itself.')
param largeBlobs bool

output settings object = {
  AzureWebJobsStorage__blobServiceUri: storageEndpoints.blob
  AzureWebJobsStorage__queueServiceUri: storageEndpoints.queue
  AzureWebJobsStorage__tableServiceUri: storageEndpoints.table
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: clientId
  ServiceBusConnection__fullyQualifiedNamespace: serviceBusHost
  ServiceBusConnection__credential: 'managedidentity'
  ServiceBusConnection__clientId: clientId
  SCORE_QUEUE: queues.requests
  SCORE_RESULT_QUEUE: queues.results
  SCORE_REJECTED_QUEUE: queues.rejected
  SCORE_BLOBS_QUEUE: queues.largeBlobs
  AzureWebJobs_score_large_blob_Disabled: largeBlobs ? 'false' : 'true'
  REDIS_URL: 'rediss://${redisHost}:10000'
  REDIS_AUTH: 'entra'
  AZURE_CLIENT_ID: clientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${clientId};Authorization=AAD'
}
